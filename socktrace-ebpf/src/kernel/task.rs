//! `struct task_struct`: the running process, its name, the arguments of its system call.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs,
};
use socktrace_common::{
    config::{HAVE_PT_REGS, HAVE_TASK_BTF},
    event::{DESCRIPTOR_WORDS, DescriptorSet},
};

use super::{Memory, Probed, Typed, present};
use crate::constant::{Place, config, offset};

/// A pointer to a `struct task_struct` that the verifier knows as such; before 5.11 it may know
/// nothing of it.
pub(crate) type Task = *const u8;

#[inline(always)]
pub(crate) fn current() -> Task {
    if config!(flags) & HAVE_TASK_BTF == 0 {
        // SAFETY: the helper has no conditions.
        return unsafe { bpf_get_current_task() } as Task;
    }
    // SAFETY: the helper has no conditions (5.11).
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

/// What belongs to a task: typed where the verifier knows the running task's type.
pub(crate) struct OfTask;

impl Memory for OfTask {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T {
        // SAFETY: the caller's pointer is a typed one, if the verifier knows any.
        unsafe {
            if config!(flags) & HAVE_TASK_BTF == 0 {
                Probed::read(base, at)
            } else {
                Typed::read(base, at)
            }
        }
    }
}

/// The registers with which a task entered the kernel: typed where a helper tells where they are.
struct OfRegisters;

impl Memory for OfRegisters {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T {
        // SAFETY: the caller's pointer is a typed one where the helper is there.
        unsafe {
            if config!(flags) & HAVE_PT_REGS == 0 {
                Probed::read(base, at)
            } else {
                Typed::read(base, at)
            }
        }
    }
}

/// Start time (`CLOCK_BOOTTIME`, ns) and name of the process, not of the thread.
#[inline(always)]
pub(crate) unsafe fn identity(task: Task) -> (u64, [u64; 2]) {
    // SAFETY: the caller's pointer is a typed task, and so is its group leader.
    unsafe {
        let leader = OfTask::pointer(task, offset!(task_group_leader));
        (
            OfTask::read(leader, offset!(task_start_boottime)),
            [
                OfTask::read(leader, offset!(task_comm)),
                OfTask::read(leader, offset!(task_comm + 8)),
            ],
        )
    }
}

/// Its table of descriptors (`struct files_struct`).
#[inline(always)]
pub(crate) unsafe fn files(task: Task) -> *const u8 {
    // SAFETY: the caller's pointer is a typed task.
    unsafe { OfTask::pointer(task, offset!(task_files)) }
}

/// Is this the last thread of its process to exit? The count goes down before the tracepoint.
#[inline(always)]
pub(crate) unsafe fn last_thread(task: Task) -> bool {
    // SAFETY: the caller's pointer is a typed task, and so is what its signal field leads to.
    unsafe {
        OfTask::read::<i32>(
            OfTask::pointer(task, offset!(task_signal)),
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
        let table = OfTask::pointer(files(task), offset!(files_fdt));
        let words = OfTask::read::<u32>(table, offset!(fdt_max_fds)) / 64;
        let open = OfTask::read::<usize>(table, offset!(fdt_open_fds)) as *const u8;
        let going = OfTask::read::<usize>(table, offset!(fdt_close_on_exec)) as *const u8;
        for word in 0..DESCRIPTOR_WORDS as u32 {
            let mut value = 0_u64;
            if word < words {
                value = Probed::at(open, word * 8);
                if after_exec {
                    value &= !Probed::at::<u64>(going, word * 8);
                }
            }
            out.cast::<u64>().add(word as usize).write(value);
        }
    }
}

/// How often the running thread has been switched. As long as that stays the same it has not left this CPU.
#[inline(always)]
pub(crate) fn switches() -> u64 {
    let task = current();
    // SAFETY: the current task is a typed task.
    unsafe {
        let given: u64 = OfTask::read(task, offset!(task_nvcsw));
        given.wrapping_add(OfTask::read(task, offset!(task_nivcsw)))
    }
}

/// The registers with which the running task entered the kernel.
#[inline(always)]
fn registers() -> Option<*const u8> {
    if config!(flags) & HAVE_PT_REGS == 0 {
        if !present(offset!(stack_regs)) {
            return None;
        }
        // SAFETY: the current task is one.
        let stack = unsafe { OfTask::read::<usize>(current(), offset!(task_stack)) };
        // They are the first that is put there (task_pt_regs(), arch/x86/include/asm/processor.h).
        return Some((stack as *const u8).wrapping_add(offset!(stack_regs).number() as usize));
    }
    // SAFETY: the helper takes a typed task (5.15).
    Some(unsafe { bpf_task_pt_regs(current().cast_mut().cast()) } as *const u8)
}

/// Argument `index`, of the first three, of the running system call. The registers outlive the call, so an exit hook
/// needs no enter hook to have seen them.
#[inline(always)]
pub(crate) fn argument(index: usize) -> Option<u64> {
    // SAFETY: these are registers.
    registers().map(|regs| unsafe {
        match index {
            0 => OfRegisters::read(regs, offset!(regs_args[0])),
            1 => OfRegisters::read(regs, offset!(regs_args[1])),
            _ => OfRegisters::read(regs, offset!(regs_args[2])),
        }
    })
}

/// The fourth argument of the running system call.
#[inline(always)]
pub(crate) fn fourth_argument() -> Option<u64> {
    // SAFETY: these are registers.
    registers().map(|regs| unsafe { OfRegisters::read(regs, offset!(regs_fourth)) })
}

/// Where the stack of the running program is, if calls leave their return addresses there.
#[inline(always)]
pub(crate) fn stack_pointer() -> Option<u64> {
    if !present(offset!(regs_stack)) {
        return None;
    }
    // SAFETY: these are registers.
    registers().map(|regs| unsafe { OfRegisters::read(regs, offset!(regs_stack)) })
}

/// The descriptor that a running `connect()` names, -1 where another call or none runs.
#[inline(always)]
pub(crate) fn connecting_fd() -> i32 {
    let Some(regs) = registers() else { return -1 };
    // SAFETY: these are registers.
    unsafe {
        let number: u64 = OfRegisters::read(regs, offset!(regs_syscall));
        if number as u32 == config!(connect_syscall) {
            OfRegisters::read::<u64>(regs, offset!(regs_args[0])) as i32
        } else {
            -1
        }
    }
}
