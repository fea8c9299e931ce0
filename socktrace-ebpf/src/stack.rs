//! The user stack of the system call that runs, kept once and named by a number.
//!
//! Not in a stack-trace map (`bpf_get_stackid`): that has one place for a stack, which another may
//! have taken, leaves out the function that called libc, and cannot be made at all where
//! `kernel.perf_event_max_stack` is small, so that nothing else would load either.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_USER_STACK, BPF_NOEXIST},
    helpers::generated::{bpf_get_stack, bpf_probe_read_user},
    programs::TracePointContext,
};
use socktrace_common::{
    config::{KEEP_STACKS, STACKS_OF_PIDS},
    stack::{FIRST_KEY, NoStack, STACK_FRAMES, STACK_TOP, Stack},
};

use crate::{
    constant::config,
    kernel::task,
    maps::{PIDS, STACK, STACKS},
};

/// Key of the running process's stack, or why there is none; 0 if nobody asked.
#[inline(always)]
pub(crate) fn of_call(context: &TracePointContext, tgid: u32) -> u32 {
    let flags = config!(flags);
    if flags & KEEP_STACKS == 0 {
        return 0;
    }
    // SAFETY: the value is only tested for being there.
    if flags & STACKS_OF_PIDS != 0 && unsafe { PIDS.get(tgid) }.is_none() {
        return 0;
    }
    keep(context.as_ptr())
}

/// The same for what `io_uring` does, of which the stack at that moment says nothing.
#[inline(always)]
pub(crate) fn of_ring() -> u32 {
    if config!(flags) & KEEP_STACKS == 0 {
        0
    } else {
        NoStack::Ring as u32
    }
}

/// A function of its own, as three hooks have it. The scratch is this CPU's: nothing else runs
/// these hooks on it meanwhile (`bpf_prog_active`).
#[inline(never)]
fn keep(context: *mut c_void) -> u32 {
    let Some(stack) = STACK.get_ptr_mut(0) else {
        return NoStack::Unreadable as u32;
    };
    // SAFETY: the map's value is a `Stack`, and every index is within it.
    unsafe {
        let frames = (&raw mut (*stack).frames).cast::<u64>();
        let room = size_of::<[u64; STACK_FRAMES]>() as u32;
        let bytes = bpf_get_stack(context, frames.cast(), room, u64::from(BPF_F_USER_STACK));
        if bytes < 8 {
            return NoStack::Unreadable as u32;
        }
        let length = bytes as u32 / 8;
        (&raw mut (*stack).length).write(length);
        let top = (&raw mut (*stack).top).cast::<u64>();
        read_top(top);
        let mut hash = u64::from(length);
        for index in 0..STACK_TOP {
            hash = mix(hash, *top.add(index));
        }
        for index in 0..STACK_FRAMES as u32 {
            if index >= length {
                break;
            }
            hash = mix(hash, *frames.add(index as usize));
        }
        let check = (hash >> 32) as u32;
        (&raw mut (*stack).check).write(check);
        let low = hash as u32;
        let key = if low < FIRST_KEY {
            low + FIRST_KEY
        } else {
            low
        };
        if let Some(kept) = STACKS.get_ptr(key) {
            return kept_as(kept, check, key);
        }
        let new: &Stack = &*stack;
        if STACKS.insert(key, new, u64::from(BPF_NOEXIST)).is_ok() {
            return key;
        }
        // Another CPU was faster, or there is no room.
        match STACKS.get_ptr(key) {
            Some(kept) => kept_as(kept, check, key),
            None => NoStack::Full as u32,
        }
    }
}

#[inline(always)]
unsafe fn kept_as(kept: *const Stack, check: u32, key: u32) -> u32 {
    // SAFETY: the caller's is the map's value.
    if unsafe { (*kept).check } == check {
        key
    } else {
        NoStack::Collision as u32
    }
}

/// Every word of a stack changes all bits of its hash.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// Keeps of the words on top of the stack those that a call may have put there: the others are
/// whatever the program keeps there, and each would make another stack of the same calls.
#[inline(always)]
unsafe fn read_top(top: *mut u64) {
    let size = size_of::<[u64; STACK_TOP]>() as u32;
    let at = task::stack_pointer();
    // SAFETY: the helper checks the address, and `top` has room for so much.
    let read =
        at.is_some_and(|at| unsafe { bpf_probe_read_user(top.cast(), size, at as *const _) } == 0);
    for index in 0..STACK_TOP {
        // SAFETY: the index is within it.
        unsafe {
            let word = *top.add(index);
            if !read || !was_called(word) {
                top.add(index).write(0);
            }
        }
    }
}

/// Does a call instruction end where this address begins? `call rel32`, or `call` through a register
/// or memory, on `x86_64`. What looks like one and is none is found out later.
#[inline(always)]
fn was_called(address: u64) -> bool {
    const CALL: u8 = 0xe8;
    if !(0x1_0000..1 << 47).contains(&address) {
        return false;
    }
    let mut before = [0_u8; 8];
    // SAFETY: the helper checks the address. On a fault it writes zeroes.
    unsafe {
        _ = bpf_probe_read_user(
            (&raw mut before).cast(),
            8,
            address.wrapping_sub(8) as *const _,
        );
    }
    // Opcode FF with /2 in the byte after it.
    let indirect = |at: usize| before[at] == 0xff && before[at + 1] & 0x38 == 0x10;
    before[3] == CALL || indirect(6) || indirect(5) || indirect(4) || indirect(2) || indirect(1)
}
