//! Tells user space of a process once, when its first event passes.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, ProcessEvent},
};

use crate::{
    atomic::add,
    emit::{Context, emit, run},
    kernel::task,
    maps::{ENDED, LAST_KNOWN, PROCESSES},
};

/// Announces the running process unless that was done, or it has no number for us. Its name costs
/// 16 bytes here and nothing in every other record.
#[inline(always)]
pub(crate) fn announce(context: &impl EbpfContext, tgid: u32) {
    let (Some(last), Some(ended)) = (LAST_KNOWN.get_ptr_mut(0), ENDED.get(0)) else {
        return;
    };
    let this = u64::from(tgid) << 32 | *ended & 0xffff_ffff;
    // SAFETY: the map's value is one aligned word, which is read and written at once.
    unsafe {
        // Most calls are by who made the last one on this CPU, and need no search.
        if tgid != 0 && last.read_volatile() != this && introduce(context.as_ptr(), tgid) != 0 {
            last.write_volatile(this);
        }
    }
}

/// Tells of the running process if that was not done; not 0 if it is done now. A function of its own, as
/// every hook of calls has it.
#[inline(never)]
fn introduce(context: *mut c_void, tgid: u32) -> u32 {
    if known(tgid) {
        return 1;
    }
    run(EventKind::Process, || {
        // SAFETY: the current task is a typed task.
        let (start_ns, comm) = unsafe { task::identity(task::current()) };
        let context = Context(context);
        // SAFETY: every field is written.
        let outcome = unsafe {
            emit(
                EventKind::Process,
                &context,
                move |record: *mut ProcessEvent| {
                    (&raw mut (*record).start_ns).write(start_ns);
                    (&raw mut (*record).comm).cast::<[u64; 2]>().write(comm);
                },
            )
        };
        // What user space did not get is told again. Where the map is full it is told each time.
        if matches!(outcome, Outcome::Emitted) {
            _ = PROCESSES.insert(tgid, 1, 0);
        }
        outcome
    });
    0
}

/// A process has ended: its number may become another's.
#[inline(always)]
pub(crate) fn ended() {
    if let Some(ended) = ENDED.get_ptr_mut(0) {
        // SAFETY: the map's value is an aligned word.
        unsafe { add(ended, 1) };
    }
}

/// Has user space been told of this process?
#[inline(always)]
pub(crate) fn known(tgid: u32) -> bool {
    // SAFETY: the value is only tested for being there.
    unsafe { PROCESSES.get(tgid) }.is_some()
}
