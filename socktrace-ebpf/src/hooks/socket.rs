//! A process creates a socket.

use aya_ebpf::{
    helpers::generated::bpf_get_socket_cookie,
    macros::{cgroup_sock, tracepoint},
    programs::{SockContext, TracePointContext},
};
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, SocketEvent},
};

use super::{
    returned,
    subject::{Subject, caller},
};
use crate::{
    emit::{emit, run},
    kernel::{Probed, sock},
    process::announce,
};

/// `inet_create()` runs this in the creating process (4.10). It gives the socket its cookie, which
/// the system call hooks may only read: without it a socket has none until its first state change.
/// Attached to the root of cgroup v2, if there is one.
#[cgroup_sock(sock_create)]
fn sock_create(context: SockContext) -> i32 {
    // SAFETY: the context is what this helper takes in a program of this type.
    _ = unsafe { bpf_get_socket_cookie(context.sock.cast()) };
    // Anything else would refuse the socket.
    1
}

/// `socket()` at its end, when the descriptor is there.
#[tracepoint]
fn sys_exit_socket(context: TracePointContext) -> u32 {
    run(EventKind::Socket, || try_socket(&context));
    0
}

#[inline(always)]
fn try_socket(context: &TracePointContext) -> Outcome {
    let fd = returned(context) as i32;
    let (Some(tgid), Some(socket)) = (caller(EventKind::Socket), Subject::behind(fd)) else {
        return Outcome::Filtered;
    };
    if socket.follow().is_err() {
        return Outcome::LostMap;
    }
    announce(context, tgid);
    // SAFETY: every field of the record is written.
    unsafe {
        emit(EventKind::Socket, context, |record: *mut SocketEvent| {
            socket.describe(&raw mut (*record).socket);
            (&raw mut (*record).fd).write(fd);
            let socket_type = sock::socket_type::<Probed>(socket.file.sk);
            (&raw mut (*record).socket_type).write(socket_type);
        })
    }
}
