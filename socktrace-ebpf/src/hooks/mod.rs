//! The hooks, in the order of a socket's life.

mod subject;

mod process;

mod name;

mod socket;

mod bind;
mod child;

mod connect;

mod accept;

mod state;

mod close;

mod destroy;

mod uring;

use aya_ebpf::{EbpfContext as _, programs::TracePointContext};

/// What the system call returned. The layout of `syscalls:sys_exit_*` is the kernel's ABI for
/// programs (`struct syscall_tp_t`, `kernel/trace/trace_syscalls.c`, since 4.14).
#[inline(always)]
fn returned(context: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks loads from the context.
    unsafe { context.as_ptr().cast::<u8>().add(16).cast::<i64>().read() }
}

/// Argument `index` of a system call that is entered (`struct syscall_tp_t`, as above).
#[inline(always)]
fn entered(context: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the verifier checks loads from the context.
    unsafe {
        context
            .as_ptr()
            .cast::<u8>()
            .add(16)
            .cast::<u64>()
            .add(index)
            .read()
    }
}
