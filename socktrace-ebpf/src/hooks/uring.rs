//! What `io_uring` does to sockets: the same as the system calls, and no system call tells.
//!
//! A request is told of when it is done, by whichever thread of its process does it: those of the
//! ring share their process's number and descriptors.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use socktrace_common::{
    counters::Outcome,
    event::{ClosedBy, EventKind},
    socket::{Protocol, SocketInfo},
};

use super::{
    accept::{accepted, identity},
    bind::{Call, called},
    close::closed,
    connect::{Returned, connected},
    destroy::destroyed_by_close,
    socket::{created, told_when_created},
    subject::{Subject, caller},
};
use crate::{
    constant::offset,
    emit::run,
    kernel::{
        file,
        uring::{ACCEPT, BIND, CLOSE, CONNECT, Completion, LISTEN, Request, Ring, SOCKET},
    },
    life,
    maps::{ACCEPTING, Accepting, CLOSING, Closing},
    stack,
};

/// A request that was taken back before it had an outcome.
const ECANCELED: i32 = 125;

/// `trace_io_uring_submit_req(struct io_kiocb *req)` (`include/trace/events/io_uring.h`, 6.4;
/// `trace_io_uring_submit_sqe` from 6.0): a request is understood and not begun. Remembers what its
/// completion will not say.
#[btf_tracepoint(function = "io_uring_submit_req")]
fn io_uring_submit_req(context: BtfTracePointContext) -> i32 {
    let (request, opcode) = Request::submitted(&context);
    match opcode {
        ACCEPT => remember_accept(request),
        CLOSE => remember_close(&context, request),
        _ => {}
    }
    0
}

#[inline(always)]
fn remember_accept(request: Request) {
    if !request.may_be_multishot() {
        return;
    }
    let Some(tgid) = caller(EventKind::Accept) else {
        return;
    };
    let accepting = Accepting {
        listener: identity(request.named_socket()),
        tgid,
        slot: request.command(offset!(uring_accept_slot)),
    };
    let key = [request.ring().address(), request.user_data()];
    if ACCEPTING.insert(key, accepting, 0).is_err() {
        run(EventKind::Accept, || Outcome::LostMap);
    }
}

#[inline(always)]
fn remember_close(context: &impl EbpfContext, request: Request) {
    let slot: u32 = request.command(offset!(uring_close_slot));
    let (named, fd) = if slot == 0 {
        let fd: i32 = request.command(offset!(uring_close_fd));
        (file::socket(fd), fd)
    } else {
        (request.ring().socket(slot - 1), -1)
    };
    let (Some(tgid), Some(socket)) = (caller(EventKind::Close), named.and_then(Subject::of)) else {
        return;
    };
    life::over(context, socket.id);
    let references_left = socket.file.references_left();
    let ends = references_left == 0 && socket.ends_by_close();
    let describe = move |out| {
        // SAFETY: `out` is part of a record.
        unsafe { socket.describe(out) }
    };
    if request.may_be_silent() {
        run(EventKind::Close, || {
            if socket.follow().is_err() {
                return Outcome::LostMap;
            }
            closed(
                context,
                tgid,
                fd,
                ClosedBy::Close,
                references_left,
                describe,
            )
        });
        if ends {
            run(EventKind::Destroy, || {
                destroyed_by_close(context, socket.error(), describe)
            });
        }
        return;
    }
    let mut closing = Closing {
        // SAFETY: it is integers only, for which all zeroes is a value.
        socket: unsafe { core::mem::zeroed() },
        references_left,
        fd,
        ends: u32::from(ends),
    };
    // SAFETY: `closing` is ours.
    unsafe { socket.describe(&raw mut closing.socket) };
    let full = CLOSING.insert(request.address(), &closing, 0).is_err();
    // One that was open before us is met here first, and its end is still to come.
    if full || socket.follow().is_err() {
        run(EventKind::Close, || Outcome::LostMap);
    }
}

/// `trace_io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)` (6.13;
/// before, with the parts of the completion): the outcome of a request that makes a socket. A completion
/// that finds no room in its ring has another tracepoint, and is not seen here.
#[btf_tracepoint(function = "io_uring_complete")]
#[inline(always)] // A call more is 32 bytes of stack, of which older kernels have none left.
fn io_uring_complete(context: BtfTracePointContext) -> i32 {
    let completion = Completion::of(&context);
    let (result, ring) = (completion.result, completion.ring);
    let Some(request) = completion.request else {
        accepted_another(&context, &completion);
        return 0;
    };
    match request.opcode() {
        ACCEPT => accepted_last(&context, request, &completion),
        SOCKET if result >= 0 && !told_when_created() => run(EventKind::Socket, || {
            let slot = request.command(offset!(uring_socket_slot));
            try_socket(&context, ring, slot, result)
        }),
        _ => {}
    }
    0
}

/// The same of one that names a socket. A program of its own: both in one are more than the verifier
/// of 6.1 goes through.
#[btf_tracepoint(function = "io_uring_complete")]
#[inline(always)]
fn io_uring_complete_named(context: BtfTracePointContext) -> i32 {
    let completion = Completion::of(&context);
    // Other requests go on after a completion. On kernels whose tracepoint has not all of these arguments
    // the verifier refuses a program that asks for this one, and what the others are is another matter.
    if !completion.is_last() {
        return 0;
    }
    let Some(request) = completion.request else {
        return 0;
    };
    let result = completion.result;
    match request.opcode() {
        CONNECT if result != -ECANCELED => run(EventKind::Connect, || {
            try_connect(&context, request, result)
        }),
        BIND => run(EventKind::Bind, || {
            try_call(&context, EventKind::Bind, request, result, 0)
        }),
        LISTEN => run(EventKind::Listen, || {
            let backlog = request.command(offset!(uring_listen_backlog));
            try_call(&context, EventKind::Listen, request, result, backlog)
        }),
        CLOSE => try_close(&context, request, result),
        _ => {}
    }
    0
}

/// A request that goes on has a result. Its opcode is not told: it is an accept if it was
/// remembered as one.
#[inline(always)]
fn accepted_another(context: &impl EbpfContext, completion: &Completion) {
    let key = [completion.ring.address(), completion.user_data];
    // SAFETY: the value is copied at once.
    let Some(&accepting) = (unsafe { ACCEPTING.get(key) }) else {
        return;
    };
    run(EventKind::Accept, || {
        // Of a ring that is gone something may be left, and another ring may be in its place.
        if caller(EventKind::Accept) != Some(accepting.tgid) {
            return Outcome::Filtered;
        }
        let Accepting { listener, slot, .. } = accepting;
        try_accept(context, completion, listener, slot)
    });
}

#[inline(always)]
fn accepted_last(context: &impl EbpfContext, request: Request, completion: &Completion) {
    if completion.is_last() && request.may_be_multishot() {
        let key = [completion.ring.address(), completion.user_data];
        // Absent where it was not remembered.
        _ = ACCEPTING.remove(key);
    }
    if completion.result < 0 {
        return;
    }
    run(EventKind::Accept, || {
        let listener = identity(request.socket());
        let slot = request.command(offset!(uring_accept_slot));
        try_accept(context, completion, listener, slot)
    });
}

#[inline(always)]
fn try_accept(
    context: &impl EbpfContext,
    completion: &Completion,
    listener: u64,
    slot: u32,
) -> Outcome {
    let (Some(tgid), Some((file, fd))) = (
        caller(EventKind::Accept),
        completion.ring.made(slot, completion.result),
    ) else {
        return Outcome::Filtered;
    };
    match Subject::of(file) {
        Some(socket) => accepted(context, tgid, socket, listener, fd, stack::of_ring()),
        None => Outcome::Filtered,
    }
}

#[inline(always)]
fn try_socket(context: &impl EbpfContext, ring: Ring, slot: u32, result: i32) -> Outcome {
    let (Some(tgid), Some((file, fd))) = (caller(EventKind::Socket), ring.made(slot, result))
    else {
        return Outcome::Filtered;
    };
    match Subject::of(file) {
        Some(socket) => created(context, tgid, socket, fd, stack::of_ring()),
        None => Outcome::Filtered,
    }
}

/// A connect of TCP that succeeds is told by its states; so are most failures, but not those
/// before `SYN_SENT`.
#[inline(always)]
fn try_connect(context: &impl EbpfContext, request: Request, result: i32) -> Outcome {
    let (Some(tgid), Some(socket)) = (
        caller(EventKind::Connect),
        request.socket().and_then(Subject::of),
    ) else {
        return Outcome::Filtered;
    };
    if result >= 0 && socket.at.kind.protocol == Protocol::Tcp {
        return Outcome::Filtered;
    }
    let target = (
        request.command(offset!(uring_connect_addr)),
        u64::from(request.command::<u32>(offset!(uring_connect_length))),
    );
    let call = Returned {
        fd: -1,
        ret: result,
        target: Some(target),
        stack: stack::of_ring(),
    };
    connected(context, tgid, socket, &call)
}

#[inline(always)]
fn try_call(
    context: &impl EbpfContext,
    kind: EventKind,
    request: Request,
    result: i32,
    backlog: i32,
) -> Outcome {
    match (caller(kind), request.socket().and_then(Subject::of)) {
        (Some(tgid), Some(socket)) => {
            let call = Call {
                kind,
                fd: -1,
                ret: result,
                backlog,
                target: None,
            };
            called(context, tgid, socket, &call)
        }
        _ => Outcome::Filtered,
    }
}

/// Where it failed, nothing is closed.
#[inline(always)]
fn try_close(context: &impl EbpfContext, request: Request, result: i32) {
    let key = request.address();
    // SAFETY: nothing else touches the entry of this request before it is removed below.
    let Some(closing) = (unsafe { CLOSING.get(key) }) else {
        return;
    };
    let tgid = caller(EventKind::Close).filter(|_| result == 0);
    let describe = move |out: *mut SocketInfo| {
        // SAFETY: `out` is part of a record.
        unsafe { out.write(closing.socket) }
    };
    run(EventKind::Close, || match tgid {
        Some(tgid) => {
            let (fd, left) = (closing.fd, closing.references_left);
            closed(context, tgid, fd, ClosedBy::Close, left, describe)
        }
        None => Outcome::Filtered,
    });
    if tgid.is_some() && closing.ends != 0 {
        // By now its `sk_err` is gone with it.
        run(EventKind::Destroy, || {
            destroyed_by_close(context, 0, describe)
        });
    }
    _ = CLOSING.remove(key);
}
