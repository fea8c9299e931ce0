//! The two atomic instructions that counters need. `core` offers them only where there is a
//! compare-and-swap, which it does not assume for BPF.

use core::arch::asm;

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

/// Adds to a counter and returns what was there (5.12; where the instruction is missing the object
/// does not load).
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(counter: *mut u64, mut number: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) counter, inout(reg) number);
    }
    number
}
