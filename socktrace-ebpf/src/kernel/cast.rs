//! Addresses of which the verifier knows nothing, given a type: loads through them then cost a
//! nanosecond, and `bpf_probe_read_kernel` tens of them.

use socktrace_common::config::{CAST, HAVE_CAST};

use super::{Memory, Probed, Typed};
use crate::constant::{Place, config};

/// Reads of what was [`cast`]: loads, where the kernel has casts (6.2), else as [`Probed`].
pub(crate) struct Cast;

/// Are there casts? A constant to the verifier, which drops the other branch.
#[inline(always)]
fn available() -> bool {
    config!(flags) & HAVE_CAST != 0
}

/// Gives an address a type, by its BTF identity. A fault of a load through it reads as zero.
///
/// A call of a helper that does not exist; `probe/object.rs` makes it one of `bpf_rdonly_cast()`, which
/// the verifier replaces by nothing at all.
#[inline(always)]
pub(crate) fn cast(address: *const u8, kind: impl Place) -> *const u8 {
    if !available() {
        return address;
    }
    // SAFETY: that is how helpers are called: by their number. This one only says what it is given.
    unsafe {
        let call: unsafe extern "C" fn(*const u8, u32) -> *const u8 =
            core::mem::transmute(CAST as usize);
        call(address, kind.number())
    }
}

impl Memory for Cast {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: *const u8, at: impl Place) -> T {
        // SAFETY: the caller's `base` was cast to a type that has the field; `Probed` takes any.
        unsafe {
            if available() {
                Typed::read(base, at)
            } else {
                Probed::read(base, at)
            }
        }
    }
}
