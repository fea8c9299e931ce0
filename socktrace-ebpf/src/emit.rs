//! The only writer to the ring, and the only place that counts.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use aya_log_ebpf::debug;
use socktrace_common::{
    counters::{Outcome, SLOTS, outcome_slot, seen_slot},
    event::{EventKind, Header},
};

use crate::{
    atomic::add,
    kernel::pid,
    maps::{COUNTERS, EVENTS, NEXT_RECORD, config, take_number},
};

/// Runs `decide` for one possible event of `kind` and counts it: seen before, its outcome after.
#[inline(always)]
pub(crate) fn run(kind: EventKind, decide: impl FnOnce() -> Outcome) {
    count(seen_slot(kind));
    match decide() {
        Outcome::Emitted => count(outcome_slot(kind, Outcome::Emitted)),
        Outcome::Folded => count(outcome_slot(kind, Outcome::Folded)),
        Outcome::Filtered => count(outcome_slot(kind, Outcome::Filtered)),
        Outcome::LostRing => count(outcome_slot(kind, Outcome::LostRing)),
        Outcome::LostMap => count(outcome_slot(kind, Outcome::LostMap)),
    }
}

#[inline(always)]
fn count(slot: usize) {
    if slot >= SLOTS {
        return;
    }
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the map's value is this long, and the slot is aligned for 64 bits. Atomic,
        // because a softirq on this CPU can run the same code in between.
        unsafe { add(counters.cast::<u64>().add(slot), 1) };
    }
}

/// Reserves a record of type `T`, writes its header, lets `fill` write the rest, submits it.
///
/// # Safety
///
/// `T` begins with a [`Header`], and `fill` writes every other byte of it: what it leaves out
/// would show user space old contents of the ring.
#[inline(always)]
pub(crate) unsafe fn emit<T: 'static>(
    kind: EventKind,
    context: &impl EbpfContext,
    fill: impl FnOnce(*mut T),
) -> Outcome {
    // Taken before the reservation, so that a record without room leaves a gap.
    let Some(seq) = take_number(NEXT_RECORD) else {
        return Outcome::LostRing;
    };
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        log_no_room(context.as_ptr(), kind as u16);
        return Outcome::LostRing;
    };
    let record = entry.as_mut_ptr();
    let (tgid, tid) = pid::running();
    // SAFETY: the record is ours until it is submitted; the caller vouches for the header.
    unsafe {
        record.cast::<Header>().write(Header {
            mono_ns: bpf_ktime_get_ns(),
            seq,
            kind: kind as u16,
            cpu: bpf_get_smp_processor_id() as u16,
            tgid,
            tid,
            // Whoever knows the caller's writes it.
            stack: 0,
        });
    }
    fill(record);
    entry.submit(wakeup::<T>());
    Outcome::Emitted
}

/// A hook's context, for what is a function of its own.
pub(crate) struct Context(pub(crate) *mut c_void);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

/// A function of its own: the logger's code would otherwise be in every hook. When logging is off,
/// the verifier removes what is in here.
#[inline(never)]
fn log_no_room(context: *mut c_void, kind: u16) {
    debug!(&Context(context), "no room for a record of kind {}", kind);
}

/// A wake-up costs as much as a hundred records (16 µs against 35 ns where it was measured), so
/// the reader comes by a timer. One is forced when the ring fills up, by the one record that
/// crosses the mark.
#[inline(always)]
fn wakeup<T>() -> u64 {
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let mark = u64::from(config!(wakeup_bytes));
    if waiting >= mark && waiting < mark + size_of::<T>() as u64 + 8 {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
