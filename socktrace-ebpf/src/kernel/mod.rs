//! Typed reads of kernel structs. What differs between kernels lives and dies here.

mod cast;
pub(crate) mod file;
pub(crate) mod pid;
pub(crate) mod sock;
pub(crate) mod task;
pub(crate) mod unix;
pub(crate) mod uring;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use socktrace_common::config::ABSENT;

pub(crate) use self::cast::Cast;
use crate::constant::{Place, load};

/// A way to read kernel memory at an offset that only the running kernel knows.
pub(crate) trait Memory {
    /// Reads a `T` there; zero where the memory is not.
    ///
    /// # Safety
    ///
    /// The memory may be anything; whether `base` is good enough depends on the implementation.
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T;

    /// Reads a pointer.
    ///
    /// # Safety
    ///
    /// As for [`Memory::read`].
    #[inline(always)]
    unsafe fn pointer(base: *const u8, at: impl Place) -> *const u8 {
        // SAFETY: the caller's.
        unsafe { Self::read::<usize>(base, at) as *const u8 }
    }
}

/// Loads through a pointer whose type the verifier knows from BTF: about a nanosecond, and a
/// fault reads as zero. The verifier checks each load when the object is loaded.
pub(crate) struct Typed;

impl Memory for Typed {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T {
        // SAFETY: the verifier refuses the program unless `base` is a typed kernel pointer and
        // the field is within its type; the kernel's exception table handles a stale one.
        unsafe { load(base, at) }
    }
}

/// `bpf_probe_read_kernel`: about 9 ns, for addresses that the verifier knows nothing about.
pub(crate) struct Probed;

impl Memory for Probed {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T {
        // SAFETY: the helper checks the address.
        unsafe { Self::at(base, at.number()) }
    }
}

impl Probed {
    /// Reads a `T` so many bytes further.
    ///
    /// # Safety
    ///
    /// The memory may be anything.
    #[inline(always)]
    unsafe fn at<T: Copy + Default>(base: *const u8, further: u32) -> T {
        let mut value = T::default();
        let address = base.wrapping_add(further as usize);
        // SAFETY: the helper checks the address itself, and `value` is an integer.
        // Its result is not looked at: on a fault it writes zeroes (5.5), and a branch for each
        // read would be two ways for the verifier to follow through all that comes after.
        unsafe {
            _ = bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                address.cast(),
            );
        }
        value
    }
}

/// Has this kernel the field?
#[inline(always)]
pub(crate) fn present(at: impl Place) -> bool {
    at.number() != ABSENT
}
