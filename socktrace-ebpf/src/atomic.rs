//! The atomic instructions that counters and lives need. `core` offers them only where there is a
//! compare-and-swap, which it does not assume for BPF.

use core::arch::asm;

use socktrace_common::config::HAVE_FETCH_ADD;

use crate::constant::config;

/// Adds to a counter, wrapping around.
///
/// # Safety
///
/// `counter` points to an aligned u64 in a map's value.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, number: u64) {
    // SAFETY: the caller's; every kernel with a ring buffer has the instruction.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) number) }
}

/// Adds to a counter and returns what was there.
///
/// Before 5.12 no instruction does both. Then two do, and whoever interrupts between them gets the
/// same number: a softirq, as these counters are a CPU's own and nothing else interrupts a program
/// there (lives, which CPUs share, are not kept then). Numbers of records that are the same twice
/// show as one that is missing afterwards, so nothing is lost without being told.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(counter: *mut u64, mut number: u64) -> u64 {
    if config!(flags) & HAVE_FETCH_ADD == 0 {
        // SAFETY: the caller's.
        unsafe {
            let before = counter.read_volatile();
            add(counter, number);
            return before;
        }
    }
    // SAFETY: the caller's.
    unsafe {
        asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) counter, inout(reg) number);
    }
    number
}

/// Puts `new` where `old` was, and says whether it was.
///
/// # Safety
///
/// As for [`add`], where the kernel has such instructions (5.12); others get an object without it.
#[inline(always)]
pub(crate) unsafe fn replace(place: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: the caller's. The instruction compares with r0, and leaves there what it found.
    unsafe {
        asm!(
            "r0 = {1}",
            "r0 = cmpxchg_64({0} + 0, r0, {2})",
            "{3} = r0",
            in(reg) place,
            in(reg) old,
            in(reg) new,
            lateout(reg) found,
            out("r0") _,
        );
    }
    found == old
}
