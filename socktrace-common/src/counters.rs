//! What the kernel side counts, one slot a CPU, in the map `COUNTERS`.
//!
//! `seen` is counted when a hook has something to decide, the outcome when it has decided, by
//! other code: that `seen = emitted + folded + filtered + lost` is a check, not a definition.

use crate::event::EventKind;

/// How a hook's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// A record is in the ring.
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

/// Number of the slot that counts runs begun.
const SEEN: u32 = 0;
/// Slots of one kind: `seen` and the outcomes.
const PER_KIND: u32 = 6;
/// One past the highest kind number.
const KINDS: u32 = EventKind::ALL[EventKind::ALL.len() - 1] as u32 + 1;

/// Slots of the map `COUNTERS`, of 64 bits each.
pub const SLOTS: usize = (PER_KIND * KINDS) as usize;

/// Slot that counts the runs begun for `kind`.
#[must_use]
pub const fn seen_slot(kind: EventKind) -> usize {
    (kind as u32 * PER_KIND + SEEN) as usize
}

/// Slot that counts the runs for `kind` that ended in `outcome`.
#[must_use]
pub const fn outcome_slot(kind: EventKind, outcome: Outcome) -> usize {
    (kind as u32 * PER_KIND + outcome as u32) as usize
}
