//! `accept()` and `accept4()` at their ends: the moment a passive socket gets its owner.

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use socktrace_common::{
    counters::Outcome,
    event::{AcceptEvent, EventKind},
};

use super::{
    name, returned,
    subject::{Subject, caller, young},
};
use crate::{
    emit::{emit, run_alone},
    kernel::{
        Cast,
        file::{Descriptors, SocketFile},
        sock, task,
    },
    life,
    process::announce,
    stack,
};

/// The handshake ran in softirq, under whoever was interrupted. Only here the acceptor is known.
#[tracepoint]
fn sys_exit_accept(context: TracePointContext) -> u32 {
    run_alone(EventKind::Accept, || try_accept(&context));
    0
}

#[inline(always)]
fn try_accept(context: &TracePointContext) -> Outcome {
    let fd = returned(context) as i32;
    let Some(tgid) = caller(EventKind::Accept) else {
        return Outcome::Filtered;
    };
    let descriptors = Descriptors::of_running();
    let Some(file) = descriptors.socket(fd) else {
        return Outcome::Filtered;
    };
    let listener = task::argument(0).and_then(|fd| descriptors.socket(fd as i32));
    // Where some processes only are followed, no life is kept.
    if let Some(life) = young(&file) {
        announce(context, tgid);
        if let Some(listener) = listener {
            // SAFETY: the listener is an open file's socket, of the same protocol, and `life` is the
            // map's value.
            unsafe { (&raw mut (*life).listener).write(sock::cookie::<Cast>(listener.sk)) };
        }
        let step = life::step(EventKind::Accept, tgid, fd, 0);
        if life::add(context, life, step) {
            return Outcome::Folded;
        }
    }
    let Some(socket) = Subject::of(file) else {
        return Outcome::Filtered;
    };
    let stack = stack::of_call(context, tgid);
    accepted(context, tgid, socket, identity(listener), fd, stack)
}

/// Identity of a listener, 0 if it is not known.
#[inline(always)]
pub(super) fn identity(listener: Option<SocketFile>) -> u64 {
    // Not `map_or()`: the compiler may make that a function, to which it hands over nothing for the socket
    // where there is none, and the verifier refuses what was never written.
    let Some(file) = listener else {
        return 0;
    };
    // SAFETY: the listener is an open file's socket, which was cast.
    unsafe { sock::identity_any(file.sk, sock::kind::<Cast>(file.sk).protocol) }
}

/// The running process has accepted the socket.
#[inline(always)]
pub(super) fn accepted(
    context: &impl EbpfContext,
    tgid: u32,
    socket: Subject,
    listener: u64,
    fd: i32,
    stack: u32,
) -> Outcome {
    // Where it began by itself and io_uring goes on.
    life::over(context, socket.id);
    if socket.follow().is_err() {
        return Outcome::LostMap;
    }
    announce(context, tgid);
    name::local(context, socket);
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Accept,
            context,
            move |record: *mut AcceptEvent| {
                (&raw mut (*record).header.stack).write(stack);
                socket.describe(&raw mut (*record).socket);
                (&raw mut (*record).listener).write(listener);
                (&raw mut (*record).fd).write(fd);
                (&raw mut (*record).pad).write(0);
            },
        )
    }
}
