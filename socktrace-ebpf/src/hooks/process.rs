//! Processes begin, change their program and end. Descriptors go with them, and no `close()` tells.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, ExecEvent, ForkEvent, Header},
};

use crate::{
    emit::{emit, run},
    filter,
    kernel::{
        pid,
        task::{self, Task},
    },
    maps::{PIDS, PROCESSES},
    process::{ended, known},
};

/// `trace_sched_process_fork(struct task_struct *parent, struct task_struct *child)`
/// (include/trace/events/sched.h): the child has its descriptors and has not run yet, so a
/// followed process's child is followed from its first call.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(context: BtfTracePointContext) -> i32 {
    let (parent, child) = (context.arg::<Task>(0), context.arg::<Task>(1));
    run(EventKind::Fork, || {
        // SAFETY: both arguments are typed tasks; every field of the record is written.
        unsafe {
            let (from, to) = (pid::tgid(parent), pid::tgid(child));
            // A thread, or processes of which neither has a number for us.
            if from == to {
                return Outcome::Filtered;
            }
            if filter::by_process() && filter::process(from) && PIDS.insert(to, 1, 0).is_err() {
                return Outcome::LostMap;
            }
            if !filter::kind(EventKind::Fork) || !known(from) {
                return Outcome::Folded;
            }
            let (start_ns, comm) = task::identity(child);
            let shares = task::files(parent) == task::files(child);
            let outcome = emit(EventKind::Fork, &context, move |record: *mut ForkEvent| {
                (&raw mut (*record).start_ns).write(start_ns);
                (&raw mut (*record).comm).cast::<[u64; 2]>().write(comm);
                (&raw mut (*record).child).write(to);
                (&raw mut (*record).shares_descriptors).write(u32::from(shares));
            });
            if matches!(outcome, Outcome::Emitted) {
                _ = PROCESSES.insert(to, 1, 0);
            }
            outcome
        }
    });
    0
}

/// `trace_sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`:
/// the close-on-exec descriptors are gone by now.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(context: BtfTracePointContext) -> i32 {
    run(EventKind::Exec, || {
        if !filter::kind(EventKind::Exec) || !known(pid::running_tgid()) {
            return Outcome::Filtered;
        }
        let current = task::current();
        // SAFETY: the current task is typed; every field of the record is written.
        unsafe {
            let (_, comm) = task::identity(current);
            emit(EventKind::Exec, &context, move |record: *mut ExecEvent| {
                (&raw mut (*record).comm).cast::<[u64; 2]>().write(comm);
                task::open_descriptors(current, false, &raw mut (*record).open);
            })
        }
    });
    0
}

/// `trace_sched_process_exit(struct task_struct *p)`: for each thread, before its descriptors are
/// closed.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(context: BtfTracePointContext) -> i32 {
    run(EventKind::Exit, || {
        // SAFETY: the current task is typed.
        if !unsafe { task::last_thread(task::current()) } {
            return Outcome::Filtered;
        }
        let tgid = pid::running_tgid();
        if filter::by_process() {
            // Absent for every process that is not followed.
            _ = PIDS.remove(tgid);
        }
        ended();
        if PROCESSES.remove(tgid).is_err() || !filter::kind(EventKind::Exit) {
            return Outcome::Folded;
        }
        // SAFETY: the header is the whole record.
        unsafe { emit(EventKind::Exit, &context, |_: *mut Header| {}) }
    });
    0
}
