//! What the kernel side counts, one slot a CPU, in the map `COUNTERS`.
//!
//! `seen` is counted when a hook has something to decide, the outcome when it has decided, by
//! other code: that `seen = emitted + folded + filtered + lost` is a check, not a definition.

use crate::event::EventKind;

/// How a hook's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// A record is in the ring, or a life on a shelf.
    Emitted = 1,
    /// Kept in a kernel-side map, no record.
    Folded = 2,
    /// Not asked for, or nothing happened (a call failed, a descriptor is no socket).
    Filtered = 3,
    /// The ring buffer had no room.
    LostRing = 4,
    /// A kernel-side map had no room, so the socket could not be followed.
    LostMap = 5,
}

/// Who counts: programs that may interrupt each other have other slots than those that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Books {
    /// Of all programs that count a kind: an atomic addition each.
    Shared = 0,
    /// Of the one program that counts a kind here and that the kernel does not run twice at once on a
    /// CPU: plain additions, which wait for nothing.
    Own = 1,
}

impl Books {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Own];
}

/// Number of the slot that counts runs begun.
const SEEN: u32 = 0;
/// Slots of one kind: `seen` and the outcomes.
const PER_KIND: u32 = 6;
/// One past the highest kind number.
const KINDS: u32 = EventKind::ALL[EventKind::ALL.len() - 1] as u32 + 1;

/// Slots of one of the books.
const PER_BOOK: u32 = PER_KIND * KINDS;

/// Slots of the map `COUNTERS`, of 64 bits each.
pub const SLOTS: usize = PER_BOOK as usize * Books::ALL.len();

/// Slot that counts the runs begun for `kind`.
#[must_use]
pub const fn seen_slot(books: Books, kind: EventKind) -> usize {
    slot(books, kind, SEEN)
}

/// Slot that counts the runs for `kind` that ended in `outcome`.
#[must_use]
pub const fn outcome_slot(books: Books, kind: EventKind, outcome: Outcome) -> usize {
    slot(books, kind, outcome as u32)
}

const fn slot(books: Books, kind: EventKind, number: u32) -> usize {
    (books as u32 * PER_BOOK + kind as u32 * PER_KIND + number) as usize
}
