//! A socket is gone.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_socket_cookie,
    macros::{btf_tracepoint, cgroup_sock, tracepoint},
    programs::{BtfTracePointContext, SockContext, TracePointContext},
};
use socktrace_common::{
    counters::Outcome,
    event::{DestroyEvent, EventKind},
    socket::{PROTO_TCP, Protocol, SocketInfo},
};

use crate::{
    emit::{Context, emit, run, run_alone},
    filter,
    kernel::{
        Probed, Typed,
        sock::{self, Kind, Sock, SockMemory},
    },
    life,
};

/// `trace_tcp_destroy_sock(struct sock *sk)` (include/trace/events/tcp.h, 4.16): the end of every
/// TCP socket, also of those that were never connected.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(context: BtfTracePointContext) -> i32 {
    let sk = context.arg::<Sock>(0);
    run_alone(EventKind::Destroy, || {
        // SAFETY: the argument is a typed socket.
        unsafe { try_destroy::<Typed>(&context, sk) }
    });
    0
}

/// The same as a classic tracepoint, see `inet_sock_set_state_tp`.
#[tracepoint]
fn tcp_destroy_sock_tp(context: TracePointContext) -> u32 {
    run_alone(EventKind::Destroy, || {
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
        if let Some(life) = life::of(sock::cookie::<M>(sk)) {
            let last = life::step(EventKind::Destroy, 0, -1, sock::error::<M>(sk));
            if life::end(context, life, last) {
                return Outcome::Folded;
            }
        }
        told::<M>(context.as_ptr(), sk)
    }
}

/// The end of a socket whose life is not kept.
#[inline(never)]
unsafe fn told<M: SockMemory>(context: *mut c_void, sk: Sock) -> Outcome {
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
        let at = sock::endpoint::<M>(sk, Kind::tcp::<M>(sk));
        emit(
            EventKind::Destroy,
            &Context(context),
            move |record: *mut DestroyEvent| {
                sock::describe::<M>(sk, id, &at, &raw mut (*record).socket);
                (&raw mut (*record).error).write(sock::error::<M>(sk));
                (&raw mut (*record).pad).write(0);
            },
        )
    }
}

/// `inet_release()` runs this when the last reference to the file of a socket over IPv4 or IPv6
/// goes, however it goes (5.9). Attached to the root of cgroup v2, if there is one.
#[cgroup_sock(sock_release)]
fn sock_release(context: SockContext) -> i32 {
    // TCP sockets live on: the peer has to hear of it. A raw socket may have TCP's number.
    // SAFETY: the verifier knows the context's fields.
    let tcp = unsafe {
        let sock = context.sock;
        (*sock).protocol == u32::from(PROTO_TCP) && (*sock).type_ == u32::from(sock::SOCK_STREAM)
    };
    if tcp {
        return 1;
    }
    run(EventKind::Destroy, || {
        // What programs of this type see as their context is the socket itself
        // (__cgroup_bpf_run_filter_sk(), kernel/bpf/cgroup.c).
        // SAFETY: so its address is a socket's.
        unsafe { try_release(&context, context.sock.cast_const().cast()) }
    });
    // The kernel does not look at it, and the verifier wants it to be 0 or 1.
    1
}

#[inline(always)]
unsafe fn try_release(context: &SockContext, sk: Sock) -> Outcome {
    // SAFETY: `Probed` takes any address, and the context is what the helper takes in a program
    // of this type; every field of the record is written.
    unsafe {
        let kind = sock::kind::<Probed>(sk);
        // TCP sockets live on: the peer has to hear of it.
        if kind.protocol == Protocol::Tcp || !filter::protocol(kind.protocol) {
            return Outcome::Filtered;
        }
        let inode = sock::inode_identity::<Probed>(sk);
        let id = if kind.protocol == Protocol::Mptcp {
            inode
        } else {
            bpf_get_socket_cookie(context.sock.cast())
        };
        // Both: it may have had no cookie when it was followed.
        let followed = filter::forget(id) | filter::forget(inode);
        if !followed || !filter::kind(EventKind::Destroy) {
            return Outcome::Filtered;
        }
        let at = sock::endpoint::<Probed>(sk, kind);
        emit(
            EventKind::Destroy,
            context,
            move |record: *mut DestroyEvent| {
                sock::describe::<Probed>(sk, id, &at, &raw mut (*record).socket);
                (&raw mut (*record).error).write(sock::error::<Probed>(sk));
                (&raw mut (*record).pad).write(0);
            },
        )
    }
}

/// A close takes the last reference to a socket of whose end nothing else tells: it goes before
/// the call is back. `describe` writes which it is, `error` is its `sk_err` if it is still known.
#[inline(always)]
pub(super) fn destroyed_by_close(
    context: &impl EbpfContext,
    error: i32,
    describe: impl FnOnce(*mut SocketInfo),
) -> Outcome {
    if !filter::kind(EventKind::Destroy) {
        return Outcome::Filtered;
    }
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Destroy,
            context,
            move |record: *mut DestroyEvent| {
                describe(&raw mut (*record).socket);
                (&raw mut (*record).error).write(error);
                (&raw mut (*record).pad).write(0);
            },
        )
    }
}
