//! `struct task_struct`: the running process, its name, the arguments of its system call.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use socktrace_common::{
    config::HAVE_PT_REGS,
    event::{DESCRIPTOR_WORDS, DescriptorSet},
};

use super::{Memory as _, Probed, Typed, present};
use crate::maps::{config, offset};

/// A pointer to a `struct task_struct` that the verifier knows as such.
pub(crate) type Task = *const u8;

#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: the helper has no conditions (5.11).
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

/// Start time (`CLOCK_BOOTTIME`, ns) and name of the process, not of the thread.
#[inline(always)]
pub(crate) unsafe fn identity(task: Task) -> (u64, [u64; 2]) {
    // SAFETY: the caller's pointer is a typed task, and so is its group leader.
    unsafe {
        let leader = Typed::pointer(task, offset!(task_group_leader));
        let comm = offset!(task_comm);
        (
            Typed::read(leader, offset!(task_start_boottime)),
            [Typed::read(leader, comm), Typed::read(leader, comm + 8)],
        )
    }
}

/// Its table of descriptors (`struct files_struct`).
#[inline(always)]
pub(crate) unsafe fn files(task: Task) -> *const u8 {
    // SAFETY: the caller's pointer is a typed task.
    unsafe { Typed::pointer(task, offset!(task_files)) }
}

/// Is this the last thread of its process to exit? The count goes down before the tracepoint.
#[inline(always)]
pub(crate) unsafe fn last_thread(task: Task) -> bool {
    // SAFETY: the caller's pointer is a typed task, and so is what its signal field leads to.
    unsafe {
        Typed::read::<i32>(
            Typed::pointer(task, offset!(task_signal)),
            offset!(signal_live),
        ) == 0
    }
}

/// Which of the first descriptors are open, or stay open when the task runs another program.
#[inline(always)]
pub(crate) unsafe fn open_descriptors(task: Task, after_exec: bool, out: *mut DescriptorSet) {
    // SAFETY: the caller's pointer is a typed task and `out` a record that is being filled; the
    // bitmaps are read with bounds, word by word.
    unsafe {
        let table = Typed::pointer(files(task), offset!(files_fdt));
        let words = Typed::read::<u32>(table, offset!(fdt_max_fds)) / 64;
        let open = Typed::read::<usize>(table, offset!(fdt_open_fds)) as *const u8;
        let going = Typed::read::<usize>(table, offset!(fdt_close_on_exec)) as *const u8;
        for word in 0..DESCRIPTOR_WORDS as u32 {
            let mut value = 0_u64;
            if word < words {
                value = Probed::read(open, word * 8);
                if after_exec {
                    value &= !Probed::read::<u64>(going, word * 8);
                }
            }
            out.cast::<u64>().add(word as usize).write(value);
        }
    }
}

/// The registers with which the running task entered the kernel.
#[inline(always)]
fn registers() -> Option<*const u8> {
    if config!(flags) & HAVE_PT_REGS == 0 {
        return None;
    }
    // SAFETY: the helper takes a typed task (5.15).
    Some(unsafe { bpf_task_pt_regs(current().cast_mut().cast()) } as *const u8)
}

/// Argument `index` of the running system call. The registers outlive the call, so an exit hook
/// needs no enter hook to have seen them.
#[inline(always)]
pub(crate) fn argument(index: usize) -> Option<u64> {
    // SAFETY: the verifier knows the registers' type.
    registers().map(|regs| unsafe { Typed::read(regs, offset!(regs_args[index])) })
}

/// The fourth argument of the running system call.
#[inline(always)]
pub(crate) fn fourth_argument() -> Option<u64> {
    // SAFETY: the verifier knows the registers' type.
    registers().map(|regs| unsafe { Typed::read(regs, offset!(regs_fourth)) })
}

/// Where the stack of the running program is, if calls leave their return addresses there.
#[inline(always)]
pub(crate) fn stack_pointer() -> Option<u64> {
    if !present(offset!(regs_stack)) {
        return None;
    }
    // SAFETY: the verifier knows the registers' type.
    registers().map(|regs| unsafe { Typed::read(regs, offset!(regs_stack)) })
}

/// The descriptor that a running `connect()` names, -1 where another call or none runs.
#[inline(always)]
pub(crate) fn connecting_fd() -> i32 {
    let Some(regs) = registers() else { return -1 };
    // SAFETY: the verifier knows the registers' type.
    unsafe {
        let number: u64 = Typed::read(regs, offset!(regs_syscall));
        if number as u32 == config!(connect_syscall) {
            Typed::read::<u64>(regs, offset!(regs_args[0])) as i32
        } else {
            -1
        }
    }
}
