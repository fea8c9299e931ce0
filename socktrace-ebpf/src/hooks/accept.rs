//! `accept()` and `accept4()` at their ends: the moment a passive socket gets its owner.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use socktrace_common::{
    counters::Outcome,
    event::{AcceptEvent, EventKind},
};

use super::{current_tgid, returned};
use crate::{
    emit::{emit, run},
    filter,
    kernel::{Probed, file, sock, task},
    process::announce,
};

/// The handshake ran in softirq, under whoever was interrupted. Only here the acceptor is known.
#[tracepoint]
fn sys_exit_accept(context: TracePointContext) -> u32 {
    run(EventKind::Accept, || try_accept(&context));
    0
}

#[inline(always)]
fn try_accept(context: &TracePointContext) -> Outcome {
    let fd = returned(context) as i32;
    let tgid = current_tgid();
    if fd < 0 || !filter::kind(EventKind::Accept) || !filter::process(tgid) {
        return Outcome::Filtered;
    }
    let Some(file) = file::socket(fd) else {
        return Outcome::Filtered;
    };
    let sk = file.sk;
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
        if filter::follow(id).is_err() {
            return Outcome::LostMap;
        }
        let listener = task::argument(0)
            .and_then(|fd| file::socket(fd as i32))
            .map_or(0, |file| sock::identity_probed(file.sk));
        announce(context, tgid);
        emit(EventKind::Accept, context, |record: *mut AcceptEvent| {
            sock::describe::<Probed>(sk, id, &at, &raw mut (*record).socket);
            (&raw mut (*record).listener).write(listener);
            (&raw mut (*record).fd).write(fd);
            (&raw mut (*record).pad).write(0);
        })
    }
}
