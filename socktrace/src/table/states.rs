//! State changes and ends, which the kernel announces under whoever it interrupted.

use socktrace_common::{
    event::{DestroyEvent, StateEvent},
    socket::{
        Protocol,
        TcpState::{self, Close, Established, Listen, SynRecv, SynSent},
    },
};

use super::{
    SocketTable,
    connect::{self, Told},
    lifecycle::Transition,
    socket::Socket,
};
use crate::change::{Change, Outcome, Reason, Role, What};

impl SocketTable {
    pub(super) fn state_changed(&mut self, event: &StateEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let Some(transition) = Transition::of(event) else {
            return;
        };
        let now = header.mono_ns;
        if transition.new == SynRecv && transition.old == Listen {
            // A child of a listener: another socket, which merely begins as its copy.
            self.begin(info, now);
        }
        if transition.old == Close {
            let fd = (event.connect_fd >= 0).then_some(event.connect_fd);
            let process = self.running(header);
            if let Some(socket) = self.socket(info) {
                socket.own(process.as_ref(), fd);
            }
        }
        let Some(socket) = self.socket(info) else {
            return;
        };
        let told = step(socket, transition, event);
        let in_old_ns = socket
            .in_state_since()
            .map(|since| now.saturating_sub(since));
        let outcome = transition.ends_connection().then(|| {
            let since = socket.established().or(socket.in_state_since());
            Outcome {
                duration_ns: since.map(|since| now.saturating_sub(since)),
                reason: transition.reason(),
                bytes: socket.bytes().unwrap_or_default(),
            }
        });
        let role = socket.role;
        socket.enter(transition.new, now);
        if transition.new == TcpState::TimeWait {
            let (info, owner) = (*socket.info(), socket.owner.clone());
            self.time_waits.begin(&info, owner, now);
        }
        let what = What::State {
            old: transition.old,
            new: transition.new,
            in_old_ns,
            outcome,
            role,
        };
        let row = |table: &mut Self, what| {
            let mut change = table.change(header, info, None, what);
            if !transition.by_caller() {
                (change.actor, change.tid) = (None, None);
            }
            change
        };
        changes.push(row(self, what));
        changes.extend(told.map(|told| row(self, told.into())));
    }

    pub(super) fn destroyed(&mut self, event: &DestroyEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let Some(socket) = self.socket(info) else {
            return;
        };
        let tcp = socket.protocol() == Protocol::Tcp;
        // Of one that was there first, nobody knows what it has been through.
        let known = tcp && socket.birth().is_some();
        let never_connected = socket.attempt.is_none() && socket.established().is_none();
        // Others end when they are closed, whatever was before.
        let unseen = if !tcp || known && never_connected {
            Reason::Closed
        } else {
            Reason::Unknown
        };
        let what = What::End {
            lifetime_ns: socket.lifetime_ns(header.mono_ns),
            role: socket.role,
            reason: socket.reason.unwrap_or(unseen),
            bytes: socket
                .bytes()
                .or_else(|| (known && never_connected).then(Default::default)),
        };
        let mut change = self.change(header, info, None, what);
        (change.actor, change.tid) = (None, None);
        changes.push(change);
        self.drop_socket(info.id);
    }
}

/// What a transition does to the socket, besides its state; the outcome of an open if it tells.
fn step(socket: &mut Socket, transition: Transition, event: &StateEvent) -> Option<Told> {
    let now = event.header.mono_ns;
    let Transition {
        old, new, error, ..
    } = transition;
    let was_established = socket.established().is_some();
    match (old, new) {
        (Close, SynSent) => {
            socket.role = Role::Client;
            socket.attempt = Some(connect::begin(now, event.connect_fd >= 0));
            // A second life of the same socket.
            socket.set_established(None);
            socket.set_bytes(None);
            socket.reason = None;
        }
        (Close, Listen) => socket.role = Role::Listener,
        (Listen, SynRecv) => socket.role = Role::Server,
        (_, Established) => socket.set_established(Some(now)),
        _ => {}
    }
    if matches!(new, Close | TcpState::TimeWait) {
        socket.reason = Some(transition.reason());
        if transition.ends_connection() {
            // Without our having seen it begin, whether a SYN counts is known from the state.
            let established = was_established || old != SynSent;
            let bytes = transition.bytes(event, socket.role, established);
            socket.set_bytes(Some(bytes));
        }
    }
    if old != SynSent {
        return None;
    }
    connect::left_syn_sent(
        &mut socket.attempt,
        now,
        new,
        error,
        event.socket.lport != 0,
    )
}
