//! The numbers of a process and its threads: one in each pid namespace from its own up to the initial
//! one. Every number that leaves the kernel side, and every one that a filter compares, is made here.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use super::{
    Memory as _, Probed,
    task::{self, OfTask, Task},
};
use crate::constant::{Place as _, config, offset};

/// How deep pid namespaces can be nested (`MAX_PID_NS_LEVEL`, `include/linux/pid_namespace.h`).
const DEEPEST: u32 = 32;

/// Do we number processes as the initial pid namespace does?
#[inline(always)]
fn initial() -> bool {
    config!(pid_namespace) == 0
}

/// The running process and its thread, in our pid namespace; zeroes if it is not in it.
#[inline(always)]
pub(crate) fn running() -> (u32, u32) {
    if initial() {
        let both = bpf_get_current_pid_tgid();
        return ((both >> 32) as u32, both as u32);
    }
    let task = task::current();
    // SAFETY: the current task is a typed task.
    unsafe {
        let thread = Probed::pointer(task, offset!(task_thread_pid));
        (tgid(task), number(thread as u64))
    }
}

/// The running process, in our pid namespace; 0 if it is not in it.
#[inline(always)]
pub(crate) fn running_tgid() -> u32 {
    if initial() {
        return (bpf_get_current_pid_tgid() >> 32) as u32;
    }
    // SAFETY: the current task is a typed task.
    unsafe { tgid(task::current()) }
}

/// The process of a task, in our pid namespace; 0 if it is not in it.
#[inline(always)]
pub(crate) unsafe fn tgid(task: Task) -> u32 {
    // SAFETY: the caller's pointer is a typed task, and so is what its signal field leads to.
    unsafe {
        if initial() {
            return OfTask::read(task, offset!(task_tgid));
        }
        let signal = OfTask::pointer(task, offset!(task_signal));
        number(Probed::pointer(signal, offset!(signal_tgid)) as u64)
    }
}

/// The number that a `struct pid` has in our namespace. A function of its own: only in a container
/// it is more than dead code, and there it need not be in every hook several times.
///
/// Where we are among the namespaces is not known beforehand: `/proc` does not show how many there
/// are above its own. Most tasks are in ours itself, so the search begins at the deepest.
///
/// A global function in the verifier's sense (5.6): it goes through all turns of the loop once, instead
/// of at each call on each path that leads there. Such a one takes numbers, and no typed pointers: callers
/// probe for theirs.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn number(pid: u64) -> u32 {
    let pid = pid as *const u8;
    // SAFETY: `Probed` takes any address.
    unsafe {
        let mut level = Probed::read::<u32>(pid, offset!(pid_level));
        for _ in 0..DEEPEST {
            // The initial namespace is not ours, or we would not be here.
            if level == 0 || level > DEEPEST {
                break;
            }
            // `struct upid` ends with a pointer to its namespace.
            let size = offset!(upid_ns).number() + 8;
            let at = pid.wrapping_add((offset!(pid_numbers).number() + level * size) as usize);
            let namespace = Probed::pointer(at, offset!(upid_ns));
            if Probed::read::<u32>(namespace, offset!(pid_namespace_inum)) == config!(pid_namespace)
            {
                return Probed::read(at, offset!(upid_nr));
            }
            level -= 1;
        }
    }
    0
}
