//! `bind()` and `listen()`, at their ends.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_probe_read_user, macros::tracepoint,
    programs::TracePointContext,
};
use socktrace_common::{
    counters::Outcome,
    event::{CallEvent, EventKind},
    socket::Protocol,
};

use super::{
    name, returned,
    subject::{Subject, caller},
};
use crate::{
    emit::{emit, run},
    filter,
    kernel::{Cast, file, sock, task},
    life,
    process::announce,
};

/// `bind()`: the port is known from here on, or the errno (EADDRINUSE when none is left).
#[tracepoint]
fn sys_exit_bind(context: TracePointContext) -> u32 {
    run(EventKind::Bind, || try_call(&context, EventKind::Bind));
    0
}

/// `listen()`: its backlog is the second argument.
#[tracepoint]
fn sys_exit_listen(context: TracePointContext) -> u32 {
    run(EventKind::Listen, || try_call(&context, EventKind::Listen));
    0
}

#[inline(always)]
fn try_call(context: &TracePointContext, kind: EventKind) -> Outcome {
    let Some(tgid) = caller(kind) else {
        return Outcome::Filtered;
    };
    let (Some(fd), Some(second)) = (task::argument(0), task::argument(1)) else {
        return Outcome::Filtered;
    };
    let (fd, second) = (fd as i32, second as i32);
    let Some(file) = file::socket(fd) else {
        return Outcome::Filtered;
    };
    let Some(socket) = Subject::of(file) else {
        return Outcome::Filtered;
    };
    let ret = returned(context) as i32;
    let call = Call {
        kind,
        fd,
        ret,
        backlog: second,
        target: task::argument(1).zip(task::argument(2)),
    };
    called(context, tgid, socket, &call)
}

/// A `bind()` or a `listen()`.
pub(super) struct Call {
    pub(super) kind: EventKind,
    pub(super) fd: i32,
    pub(super) ret: i32,
    /// Of `listen()`.
    pub(super) backlog: i32,
    /// Of `bind()`: the address of a `sockaddr` in the process's memory, and the length, if they
    /// are known.
    pub(super) target: Option<(u64, u64)>,
}

/// The running process's call has returned.
#[inline(always)]
pub(super) fn called(
    context: &impl EbpfContext,
    tgid: u32,
    socket: Subject,
    call: &Call,
) -> Outcome {
    let &Call {
        kind,
        fd,
        ret,
        backlog,
        target,
    } = call;
    life::over(context, socket.id);
    let listens = matches!(kind, EventKind::Listen);
    if listens && ret == 0 {
        // SAFETY: the socket was cast.
        let netns = unsafe { sock::netns::<Cast>(socket.file.sk) };
        // Only TCP tells of children that nobody has accepted.
        let tcp = socket.at.kind.protocol == Protocol::Tcp;
        if tcp && filter::listen(netns, socket.at.lport).is_err() || socket.follow().is_err() {
            return Outcome::LostMap;
        }
    }
    announce(context, tgid);
    if !listens {
        if ret == 0 {
            name::local(context, socket);
        } else {
            name::asked(context, socket, target);
        }
    }
    let arg = if listens {
        backlog
    } else if ret < 0 {
        asked(target)
    } else {
        0
    };
    // SAFETY: every field of the record is written.
    unsafe {
        emit(kind, context, move |record: *mut CallEvent| {
            socket.describe(&raw mut (*record).socket);
            (&raw mut (*record).fd).write(fd);
            (&raw mut (*record).ret).write(ret);
            (&raw mut (*record).arg).write(arg);
            (&raw mut (*record).pad).write(0);
        })
    }
}

/// As [`CallEvent::arg`] has it: the port that a call asked for which failed. Read at the end of the call.
#[inline(always)]
fn asked(target: Option<(u64, u64)>) -> i32 {
    let Some((address, length)) = target else {
        return 0;
    };
    // `struct sockaddr_in` and `struct sockaddr_in6` begin with family and port.
    let mut begins = [0_u16; 2];
    // SAFETY: the helper checks the address. On a fault it writes zeroes, which is no family.
    _ = unsafe { bpf_probe_read_user((&raw mut begins).cast(), 4, address as *const _) };
    let [family, port] = begins;
    if length >= 4 && sock::is_inet(family as u8) {
        i32::from(u16::from_be(port)) + 1
    } else {
        0
    }
}
