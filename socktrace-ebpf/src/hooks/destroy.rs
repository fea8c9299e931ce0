//! The kernel destroys a TCP socket.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use socktrace_common::{
    counters::Outcome,
    event::{DestroyEvent, EventKind},
};

use crate::{
    emit::{emit, run},
    filter,
    kernel::{
        Probed, Typed,
        sock::{self, Sock, SockMemory},
    },
};

/// `trace_tcp_destroy_sock(struct sock *sk)` (include/trace/events/tcp.h, 4.16): the end of every
/// TCP socket, also of those that were never connected.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(context: BtfTracePointContext) -> i32 {
    let sk = context.arg::<Sock>(0);
    run(EventKind::Destroy, || {
        // SAFETY: the argument is a typed socket.
        unsafe { try_destroy::<Typed>(&context, sk) }
    });
    0
}

/// The same as a classic tracepoint, see `inet_sock_set_state_tp`.
#[tracepoint]
fn tcp_destroy_sock_tp(context: TracePointContext) -> u32 {
    run(EventKind::Destroy, || {
        // SAFETY: the verifier checks loads from the context: `skaddr` is at 8.
        unsafe {
            let sk = context.as_ptr().cast::<u8>().add(8).cast::<u64>().read() as Sock;
            try_destroy::<Probed>(&context, sk)
        }
    });
    0
}

#[inline(always)]
unsafe fn try_destroy<M: SockMemory>(context: &impl EbpfContext, sk: Sock) -> Outcome {
    // SAFETY: the caller's socket fits `M`; every field of the record is written.
    unsafe {
        if !sock::is_tcp::<M>(sk) {
            return Outcome::Filtered;
        }
        let id = M::identity(sk);
        sock::forget_identity(sk);
        if !filter::forget(id) || !filter::kind(EventKind::Destroy) {
            return Outcome::Filtered;
        }
        // Whatever its ports: before it had any, its first events may have passed, and user space
        // keeps a socket until it hears of its end.
        let at = sock::endpoint::<M>(sk);
        emit(EventKind::Destroy, context, |record: *mut DestroyEvent| {
            sock::describe::<M>(sk, id, &at, &raw mut (*record).socket);
            (&raw mut (*record).error).write(sock::error::<M>(sk));
            (&raw mut (*record).pad).write(0);
        })
    }
}
