//! `connect()` at its end: who, with which descriptor, and the errors that no state change shows.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user},
    macros::tracepoint,
    programs::TracePointContext,
};
use socktrace_common::{
    counters::Outcome,
    event::{ConnectEvent, EventKind},
};

use super::{
    name, returned,
    subject::{Subject, caller, young},
};
use crate::{
    emit::{emit, run_alone},
    kernel::{file, task},
    life,
    maps::CONNECTING,
    process::announce,
    stack,
};

/// A non-blocking `connect()` that has begun.
const EINPROGRESS: i32 = 115;

/// Without this hook a failure before `SYN_SENT` (ENETUNREACH, EADDRNOTAVAIL without a route) leaves
/// no trace, and one after it no errno of its own.
#[tracepoint]
fn sys_exit_connect(context: TracePointContext) -> u32 {
    run_alone(EventKind::Connect, || try_connect(&context));
    0
}

/// The running thread is in a `connect()`, and the life of its socket has it. If the call succeeds, or goes on
/// by itself, there is nothing more to tell of it, and its end need not find the socket again.
#[inline(always)]
pub(super) fn states_tell() {
    if let Some(connecting) = CONNECTING.get_ptr_mut(0) {
        // SAFETY: the map's value, which is this CPU's; only calls of `connect()` write it.
        unsafe { connecting.write([bpf_get_current_pid_tgid(), task::switches()]) };
    }
}

/// Is that so of the call that ends now? One that was switched in between may have left this CPU, and is
/// looked at.
#[inline(always)]
fn states_told() -> bool {
    let Some(connecting) = CONNECTING.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as above. No other call is taken for this one: it is forgotten here.
    unsafe {
        let [thread, switches] = connecting.read();
        connecting.write([0; 2]);
        thread == bpf_get_current_pid_tgid() && switches == task::switches()
    }
}

#[inline(always)]
fn try_connect(context: &TracePointContext) -> Outcome {
    let ret = returned(context) as i32;
    let told = life::folding() && states_told();
    if told && (ret == 0 || ret == -EINPROGRESS) {
        return Outcome::Filtered;
    }
    let (Some(tgid), Some(fd)) = (caller(EventKind::Connect), task::argument(0)) else {
        return Outcome::Filtered;
    };
    let fd = fd as i32;
    let Some(file) = file::socket(fd) else {
        return Outcome::Filtered;
    };
    if let Some(life) = young(&file) {
        if !life::is_begun_by(life, tgid) {
            announce(context, tgid);
        }
        if ret == 0 || ret == -EINPROGRESS {
            let step = life::step(EventKind::Connect, tgid, fd, ret);
            if life::add(context, life, step) {
                return Outcome::Folded;
            }
        }
        // What a failed call named is told with the failure.
    }
    let Some(socket) = Subject::of(file) else {
        return Outcome::Filtered;
    };
    let target = task::argument(1).zip(task::argument(2));
    let call = Returned {
        fd,
        ret,
        target,
        stack: stack::of_call(context, tgid),
    };
    connected(context, tgid, socket, &call)
}

/// A `connect()` that is over.
pub(super) struct Returned {
    /// The descriptor that it named, -1 where that is not known.
    pub(super) fd: i32,
    /// 0 or a negative errno.
    pub(super) ret: i32,
    /// The address of a `sockaddr` in its memory, and the length.
    pub(super) target: Option<(u64, u64)>,
    /// Of [`stack`].
    pub(super) stack: u32,
}

/// The running process's `connect()` has returned.
#[inline(always)]
pub(super) fn connected(
    context: &impl EbpfContext,
    tgid: u32,
    socket: Subject,
    call: &Returned,
) -> Outcome {
    let Returned {
        fd,
        ret,
        target,
        stack,
    } = *call;
    life::over(context, socket.id);
    if socket.follow().is_err() {
        return Outcome::LostMap;
    }
    announce(context, tgid);
    if ret == 0 {
        name::remote(context, socket);
    } else {
        name::asked(context, socket, target);
    }
    // SAFETY: every field of the record is written.
    unsafe {
        emit(
            EventKind::Connect,
            context,
            move |record: *mut ConnectEvent| {
                (&raw mut (*record).header.stack).write(stack);
                socket.describe(&raw mut (*record).socket);
                (&raw mut (*record).fd).write(fd);
                (&raw mut (*record).ret).write(ret);
                (&raw mut (*record).pad).write(0);
                let copy = (&raw mut (*record).target).cast::<[u32; 7]>();
                copy.write([0; 7]);
                if ret < 0
                    && ret != -EINPROGRESS
                    && let Some((address, length)) = target
                {
                    copy_target(address, length, copy);
                }
            },
        )
    }
}

/// Copies what the program asked for: a failed call may have left the socket without it. Read at
/// the end of the call, and shown only where the socket itself has no address.
#[inline(always)]
unsafe fn copy_target(address: u64, length: u64, copy: *mut [u32; 7]) {
    /// `struct sockaddr_in` and `struct sockaddr_in6`, without its scope.
    const IPV4: u64 = 16;
    const IPV6: u64 = 28;
    let size = if length >= IPV6 { IPV6 } else { IPV4 };
    // SAFETY: the helper checks the address, and `copy` has room for the longer one. On a
    // fault it writes zeroes.
    _ = unsafe { bpf_probe_read_user(copy.cast(), size as u32, address as *const _) };
}
