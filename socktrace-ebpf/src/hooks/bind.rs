//! `bind()` and `listen()`, at their ends.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use socktrace_common::{
    counters::Outcome,
    event::{CallEvent, EventKind},
};

use super::{current_tgid, returned};
use crate::{
    emit::{emit, run},
    filter,
    kernel::{Probed, file, sock, task},
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
    let tgid = current_tgid();
    if !filter::kind(kind) || !filter::process(tgid) {
        return Outcome::Filtered;
    }
    let (Some(fd), Some(second)) = (task::argument(0), task::argument(1)) else {
        return Outcome::Filtered;
    };
    let (fd, second) = (fd as i32, second as i32);
    let Some(file) = file::socket(fd) else {
        return Outcome::Filtered;
    };
    let sk = file.sk;
    let ret = returned(context) as i32;
    // SAFETY: `sk` is the open file's socket; every field of the record is written.
    unsafe {
        if !sock::is_tcp::<Probed>(sk) {
            return Outcome::Filtered;
        }
        let at = sock::endpoint::<Probed>(sk);
        if !filter::endpoint(at.family, at.lport, at.rport) {
            return Outcome::Filtered;
        }
        let id = sock::identity_probed(sk);
        if matches!(kind, EventKind::Listen) && ret == 0 {
            let netns = sock::netns::<Probed>(sk);
            if filter::listen(netns, at.lport).is_err() || filter::follow(id).is_err() {
                return Outcome::LostMap;
            }
        }
        announce(context, tgid);
        emit(kind, context, |record: *mut CallEvent| {
            sock::describe::<Probed>(sk, id, &at, &raw mut (*record).socket);
            (&raw mut (*record).fd).write(fd);
            (&raw mut (*record).ret).write(ret);
            (&raw mut (*record).arg).write(if matches!(kind, EventKind::Listen) {
                second
            } else {
                0
            });
            (&raw mut (*record).pad).write(0);
        })
    }
}
