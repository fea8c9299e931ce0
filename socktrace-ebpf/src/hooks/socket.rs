//! A process creates a socket.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_socket_cookie, bpf_probe_read_user},
    macros::{cgroup_sock, tracepoint},
    programs::{SockContext, TracePointContext},
};
use socktrace_common::{
    config::TELL_CREATED,
    counters::Outcome,
    event::{EventKind, SocketEvent},
    socket::{PROTO_MPTCP, Protocol},
};

use super::{
    returned,
    subject::{Subject, caller},
};
use crate::{
    constant::config,
    emit::{emit, run, run_alone},
    filter,
    kernel::{Cast, file, sock, task},
    life,
    process::announce,
    stack,
};

/// `inet_create()` runs this in the creating process (4.10). It gives the socket its cookie, which
/// the system call hooks may only read: without it a socket has none until its first state change.
/// Attached to the root of cgroup v2, if there is one.
///
/// Who waits for no single event is told of the socket here, too. That spares programs the hook of `socket()`:
/// the way there, at the end of a system call, takes as long as what is done there.
#[cgroup_sock(sock_create)]
fn sock_create(context: SockContext) -> i32 {
    // SAFETY: the verifier knows the context's fields, and the context is what this helper takes
    // in a program of this type.
    let cookie = unsafe {
        // The children of an MPTCP listener would all have its cookie.
        if (*context.sock).protocol == u32::from(PROTO_MPTCP) {
            0
        } else {
            bpf_get_socket_cookie(context.sock.cast())
        }
    };
    if told_when_created() {
        run(EventKind::Socket, || try_create(&context, cookie));
    }
    // Anything else would refuse the socket.
    1
}

/// Does [`sock_create`] tell of sockets, instead of what makes them?
#[inline(always)]
pub(super) fn told_when_created() -> bool {
    config!(flags) & TELL_CREATED != 0
}

#[inline(always)]
fn try_create(context: &SockContext, cookie: u64) -> Outcome {
    let Some(tgid) = caller(EventKind::Socket) else {
        return Outcome::Filtered;
    };
    // What programs of this type see as their context is the socket itself
    // (__cgroup_bpf_run_filter_sk(), kernel/bpf/cgroup.c).
    let sk = sock::whole(context.sock.cast_const().cast());
    // SAFETY: so its address is a socket's, over IPv4 or IPv6, and was cast.
    let (kind, id) = unsafe {
        let kind = sock::kind::<Cast>(sk);
        let id = if cookie == 0 {
            sock::inode_identity::<Cast>(sk)
        } else {
            cookie
        };
        (kind, id)
    };
    if !filter::protocol(kind.protocol) {
        return Outcome::Filtered;
    }
    announce(context, tgid);
    let describe = move |out| {
        // SAFETY: `out` is part of a record or a life that begins.
        unsafe { sock::newborn(sk, id, kind, out) }
    };
    if kind.protocol == Protocol::Tcp {
        let first = life::step(EventKind::Socket, tgid, -1, i32::from(sock::SOCK_STREAM));
        if life::begin(context, id, describe, first) {
            return Outcome::Folded;
        }
    }
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Socket,
            context,
            move |record: *mut SocketEvent| {
                describe(&raw mut (*record).socket);
                (&raw mut (*record).fd).write(-1);
                let socket_type = sock::socket_type::<Cast>(sk);
                (&raw mut (*record).socket_type).write(socket_type);
            },
        )
    }
}

/// `socket()` at its end, when the descriptor is there.
#[tracepoint]
fn sys_exit_socket(context: TracePointContext) -> u32 {
    run_alone(EventKind::Socket, || {
        try_socket(&context, returned(&context) as i32)
    });
    0
}

/// `socketpair()` at its end, when both descriptors are where the program wants them.
#[tracepoint]
fn sys_exit_socketpair(context: TracePointContext) -> u32 {
    let mut pair = [-1_i32; 2];
    if returned(&context) == 0
        && let Some(at) = task::fourth_argument()
    {
        // SAFETY: the helper checks the address. On a fault it writes zeroes, which may be the
        // descriptor of a socket, so that is looked at.
        let failed = unsafe { bpf_probe_read_user((&raw mut pair).cast(), 8, at as *const _) };
        if failed != 0 {
            pair = [-1; 2];
        }
    }
    for fd in pair {
        run_alone(EventKind::Socket, || try_socket(&context, fd));
    }
    0
}

#[inline(always)]
fn try_socket(context: &TracePointContext, fd: i32) -> Outcome {
    let Some(tgid) = caller(EventKind::Socket) else {
        return Outcome::Filtered;
    };
    let Some(file) = file::socket(fd) else {
        return Outcome::Filtered;
    };
    if let Some((id, kind)) = Subject::newborn(&file) {
        announce(context, tgid);
        let first = life::step(EventKind::Socket, tgid, fd, i32::from(sock::SOCK_STREAM));
        let describe = move |out| {
            // SAFETY: `out` is a life that begins.
            unsafe { sock::newborn(file.sk, id, kind, out) }
        };
        if life::begin(context, id, describe, first) {
            return Outcome::Folded;
        }
    }
    let Some(socket) = Subject::of(file) else {
        return Outcome::Filtered;
    };
    created(context, tgid, socket, fd, stack::of_call(context, tgid))
}

/// The running process has created the socket. `stack` is of [`stack`](crate::stack), here and in
/// what follows.
#[inline(always)]
pub(super) fn created(
    context: &impl EbpfContext,
    tgid: u32,
    socket: Subject,
    fd: i32,
    stack: u32,
) -> Outcome {
    if socket.follow().is_err() {
        return Outcome::LostMap;
    }
    announce(context, tgid);
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Socket,
            context,
            move |record: *mut SocketEvent| {
                (&raw mut (*record).header.stack).write(stack);
                socket.describe(&raw mut (*record).socket);
                (&raw mut (*record).fd).write(fd);
                let socket_type = sock::socket_type::<Cast>(socket.file.sk);
                (&raw mut (*record).socket_type).write(socket_type);
            },
        )
    }
}
