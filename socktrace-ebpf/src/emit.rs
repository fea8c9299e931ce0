//! The only writer to the ring, and the only place that counts.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use aya_log_ebpf::debug;
use socktrace_common::{
    config::HAVE_CAST,
    counters::{Books, Outcome, outcome_slot, seen_slot},
    event::{EventKind, Header},
};

use crate::{
    atomic::add,
    constant::config,
    kernel::pid,
    maps::{COUNTERS, EVENTS, NEXT_RECORD, take_number},
};

/// Runs `decide` for one possible event of `kind` and counts it: seen before, its outcome after.
#[inline(always)]
pub(crate) fn run(kind: EventKind, decide: impl FnOnce() -> Outcome) {
    counted(Books::Shared, kind, decide);
}

/// The same in a program that alone counts this kind in books of its own, or whose likes the kernel
/// runs one at a time on a CPU: all of classic tracepoints (`trace_call_bpf()`, `kernel/trace/bpf_trace.c`).
#[inline(always)]
pub(crate) fn run_alone(kind: EventKind, decide: impl FnOnce() -> Outcome) {
    counted(Books::Own, kind, decide);
}

#[inline(always)]
fn counted(books: Books, kind: EventKind, decide: impl FnOnce() -> Outcome) {
    let counters = COUNTERS.get_ptr_mut(0).map(<*mut _>::cast::<u64>);
    let count = |slot: usize| {
        if let Some(counters) = counters {
            // SAFETY: the map's value is this long, and the slot is aligned for 64 bits.
            unsafe { increment(books, counters.add(slot)) };
        }
    };
    count(seen_slot(books, kind));
    match decide() {
        Outcome::Emitted => count(outcome_slot(books, kind, Outcome::Emitted)),
        Outcome::Folded => count(outcome_slot(books, kind, Outcome::Folded)),
        Outcome::Filtered => count(outcome_slot(books, kind, Outcome::Filtered)),
        Outcome::LostRing => count(outcome_slot(books, kind, Outcome::LostRing)),
        Outcome::LostMap => count(outcome_slot(books, kind, Outcome::LostMap)),
    }
}

/// A softirq on this CPU can run another program, and before 6.1 the same one, in between. An atomic
/// addition holds up everything that was written before it, so it is made only where it has to be.
#[inline(always)]
unsafe fn increment(books: Books, counter: *mut u64) {
    // SAFETY: the caller's is an aligned counter of this CPU.
    unsafe {
        match books {
            Books::Own if config!(flags) & HAVE_CAST != 0 => {
                counter.write_volatile(counter.read_volatile().wrapping_add(1));
            }
            _ => add(counter, 1),
        }
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
    // SAFETY: the caller's promises are the same, and the helper has no conditions.
    unsafe { emit_at(kind, bpf_ktime_get_ns(), context, fill) }
}

/// The same, where it is known what time it is: to ask costs as much as the rest of a small record.
///
/// # Safety
///
/// As for [`emit`].
#[inline(always)]
pub(crate) unsafe fn emit_at<T: 'static>(
    kind: EventKind,
    mono_ns: u64,
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
    // SAFETY: the record is ours until it is submitted; the caller vouches for the header.
    unsafe { record.cast::<Header>().write(header(kind, mono_ns, seq)) };
    fill(record);
    entry.submit(wakeup::<T>());
    Outcome::Emitted
}

/// What a record begins with.
#[inline(always)]
pub(crate) fn header(kind: EventKind, mono_ns: u64, seq: u64) -> Header {
    let (tgid, tid) = pid::running();
    Header {
        mono_ns,
        seq,
        kind: kind as u16,
        // SAFETY: the helper has no conditions.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        tgid,
        tid,
        // Whoever knows the caller's writes it.
        stack: 0,
    }
}

/// Wakes the reader without a record: with one that is taken back. A ring that is full has done so.
#[inline(always)]
pub(crate) fn wake_reader() {
    if let Some(entry) = EVENTS.reserve::<u64>(0) {
        entry.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
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
