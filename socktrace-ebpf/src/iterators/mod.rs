//! The iterators: programs that the kernel runs over all of its objects of a kind when user space
//! reads a file, and that write to that file. They hook nothing and cost nothing until then.

mod task_file;
mod tcp;

use core::{ffi::c_void, ptr};

/// Sizes of fields and their places in an iterator's context are the kernel's ABI for programs:
/// each is eight bytes, in the order of `struct bpf_iter__*` (`kernel/bpf/task_iter.c`, 5.8).
///
/// # Safety
///
/// `context` is an iterator's, and has such a field.
#[inline(always)]
unsafe fn context_pointer(context: *mut c_void, field: usize) -> *const u8 {
    // SAFETY: the verifier checks loads from the context, and knows their types.
    unsafe { ptr::read_volatile(context.cast::<*const u8>().add(field)) }
}
