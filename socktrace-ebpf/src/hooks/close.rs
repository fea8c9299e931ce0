//! A process lets go of a descriptor.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use socktrace_common::{
    counters::Outcome,
    event::{CloseEvent, ClosedBy, DescriptorsEvent, EventKind},
    socket::SocketInfo,
};

use super::{
    destroy::destroyed_by_close,
    entered,
    subject::{Subject, caller, young},
};
use crate::{
    emit::{emit, run},
    kernel::{
        file::{self, SocketFile},
        task,
    },
    life,
    process::{announce, known},
};

/// `close()` at its beginning: at its end the descriptor names nothing.
#[tracepoint]
fn sys_enter_close(context: TracePointContext) -> u32 {
    let fd = entered(&context, 0) as i32;
    // Most descriptors are no sockets; of those there is nothing to decide.
    if let Some(file) = file::socket(fd) {
        run(EventKind::Close, || {
            try_close(&context, file, fd, ClosedBy::Close)
        });
    }
    0
}

/// `dup2()` and `dup3()`: the new descriptor is closed first, silently.
#[tracepoint]
fn sys_enter_dup2(context: TracePointContext) -> u32 {
    let (from, onto) = (entered(&context, 0) as i32, entered(&context, 1) as i32);
    // Onto itself, or of nothing, the call closes nothing.
    if from != onto
        && let Some(file) = file::socket(onto)
        && file::open_file(from).is_some()
    {
        run(EventKind::Close, || {
            try_close(&context, file, onto, ClosedBy::Dup)
        });
    }
    0
}

#[inline(always)]
fn try_close(context: &TracePointContext, file: SocketFile, fd: i32, by: ClosedBy) -> Outcome {
    let Some(tgid) = caller(EventKind::Close) else {
        return Outcome::Filtered;
    };
    if let Some(life) = young(&file) {
        announce(context, tgid);
        let step = life::closed(tgid, fd, by, file.references_left());
        if life::add(context, life, step) {
            return Outcome::Folded;
        }
    }
    let Some(socket) = Subject::of(file) else {
        return Outcome::Filtered;
    };
    // One that was open before us is met here first, and its end is still to come.
    if socket.follow().is_err() {
        return Outcome::LostMap;
    }
    let left = socket.file.references_left();
    let describe = move |out| {
        // SAFETY: `out` is part of the record.
        unsafe { socket.describe(out) }
    };
    let outcome = closed(context, tgid, fd, by, left, describe);
    if left == 0 && socket.ends_by_close() {
        let error = socket.error();
        run(EventKind::Destroy, || {
            destroyed_by_close(context, error, describe)
        });
    }
    outcome
}

/// The running process lets go of the socket that `describe` writes.
#[inline(always)]
pub(super) fn closed(
    context: &impl EbpfContext,
    tgid: u32,
    fd: i32,
    by: ClosedBy,
    references_left: i64,
    describe: impl FnOnce(*mut SocketInfo),
) -> Outcome {
    announce(context, tgid);
    // SAFETY: every field of the record is written.
    unsafe {
        emit(EventKind::Close, context, move |record: *mut CloseEvent| {
            describe(&raw mut (*record).socket);
            (&raw mut (*record).fd).write(fd);
            (&raw mut (*record).by).write(by as u32);
            (&raw mut (*record).references_left).write(references_left);
        })
    }
}

/// `close_range()` at its end: what is still open tells what was closed, without a walk here.
#[tracepoint]
fn sys_exit_close_range(context: TracePointContext) -> u32 {
    run(EventKind::Descriptors, || {
        try_descriptors(&context, ClosedBy::CloseRange)
    });
    0
}

/// `trace_sched_prepare_exec(struct task_struct *task, struct linux_binprm *bprm)`
/// (include/trace/events/sched.h, 6.10): the last moment at which the close-on-exec descriptors
/// are open. Before 6.10 they are missed until `sched_process_exec`, when they are gone.
#[btf_tracepoint(function = "sched_prepare_exec")]
fn sched_prepare_exec(context: BtfTracePointContext) -> i32 {
    run(EventKind::Descriptors, || {
        try_descriptors(&context, ClosedBy::Exec)
    });
    0
}

#[inline(always)]
fn try_descriptors(context: &impl EbpfContext, by: ClosedBy) -> Outcome {
    if !caller(EventKind::Descriptors).is_some_and(known) {
        return Outcome::Filtered;
    }
    let after_exec = matches!(by, ClosedBy::Exec);
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Descriptors,
            context,
            move |record: *mut DescriptorsEvent| {
                (&raw mut (*record).by).write(by as u32);
                (&raw mut (*record).pad).write(0);
                task::open_descriptors(task::current(), after_exec, &raw mut (*record).open);
            },
        )
    }
}
