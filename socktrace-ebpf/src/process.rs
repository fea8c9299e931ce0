//! Tells user space of a process once, when its first event passes.

use aya_ebpf::EbpfContext;
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, ProcessEvent},
};

use crate::{
    emit::{emit, run},
    kernel::task,
    maps::PROCESSES,
};

/// Announces the running process unless that was done, or it has no number for us. Its name costs
/// 16 bytes here and nothing in every other record.
#[inline(always)]
pub(crate) fn announce(context: &impl EbpfContext, tgid: u32) {
    if tgid == 0 || known(tgid) {
        return;
    }
    run(EventKind::Process, || {
        // SAFETY: the current task is a typed task.
        let (start_ns, comm) = unsafe { task::identity(task::current()) };
        // SAFETY: every field is written.
        let outcome = unsafe {
            emit(EventKind::Process, context, |record: *mut ProcessEvent| {
                (&raw mut (*record).start_ns).write(start_ns);
                (&raw mut (*record).comm).cast::<[u64; 2]>().write(comm);
            })
        };
        // What user space did not get is told again. Where the map is full it is told each time.
        if matches!(outcome, Outcome::Emitted) {
            _ = PROCESSES.insert(tgid, 1, 0);
        }
        outcome
    });
}

/// Has user space been told of this process?
#[inline(always)]
pub(crate) fn known(tgid: u32) -> bool {
    // SAFETY: the value is only tested for being there.
    unsafe { PROCESSES.get(tgid) }.is_some()
}
