//! One method for each kind of event, in the order of a socket's life.

use socktrace_common::{
    event::{
        AcceptEvent, CallEvent, CloseEvent, ClosedBy, ConnectEvent, DescriptorsEvent, DestroyEvent,
        ExecEvent, ForkEvent, Header, ProcessEvent, SocketEvent, StateEvent,
    },
    socket::{
        FAMILY_IPV4, FAMILY_IPV6, SocketInfo,
        TcpState::{self, Close, Established, Listen, SynRecv, SynSent},
    },
};

use super::{
    SocketTable,
    connect::{self, Told},
    lifecycle::Transition,
    socket::{Socket, cookie},
};
use crate::{
    change::{By, Change, Outcome, Reason, Role, What},
    event::Event,
    process::Comm,
};

impl SocketTable {
    /// Takes in one event and appends what changed.
    pub fn apply(&mut self, event: &Event, changes: &mut Vec<Change>) {
        match event {
            Event::Socket(event) => self.socket_created(event, changes),
            Event::Bind(event) => self.bound(event, changes),
            Event::Listen(event) => self.listening(event, changes),
            Event::Connect(event) => self.connected(event, changes),
            Event::Accept(event) => self.accepted(event, changes),
            Event::State(event) => self.state_changed(event, changes),
            Event::Close(event) => self.closed(event, changes),
            Event::Destroy(event) => self.destroyed(event, changes),
            Event::Process(event) => self.process_told(event),
            Event::Fork(event) => self.forked(event),
            Event::Exec(event) => self.executed(event, changes),
            Event::Exit(header) => self.exited(header, changes),
            Event::Descriptors(event) => self.descriptors_closed(event, changes),
        }
    }

    fn socket_created(&mut self, event: &SocketEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        if info.id != 0 {
            let mut socket = Socket::born(info, header.mono_ns);
            socket.own(&self.processes.get(header.tgid), Some(event.fd));
            self.sockets.insert(info.id, socket);
            self.hold(header.tgid, event.fd, info.id);
        }
        let what = What::Socket {
            socket_type: event.socket_type,
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    fn bound(&mut self, event: &CallEvent, changes: &mut Vec<Change>) {
        self.socket(&event.socket);
        let what = What::Bind {
            error: errno(event.ret),
        };
        changes.push(self.change(&event.header, &event.socket, Some(event.fd), what));
    }

    fn listening(&mut self, event: &CallEvent, changes: &mut Vec<Change>) {
        self.own(&event.header, &event.socket, event.fd);
        let what = What::Listen {
            backlog: event.arg,
            error: errno(event.ret),
        };
        changes.push(self.change(&event.header, &event.socket, Some(event.fd), what));
    }

    fn connected(&mut self, event: &ConnectEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let established = self
            .sockets
            .get(&info.id)
            .is_some_and(|socket| socket.state == Established);
        self.own(header, info, event.fd);
        let target = target(event);
        let told = match self.sockets.get_mut(&info.id) {
            Some(socket) => {
                let told =
                    connect::returned(&mut socket.attempt, header.mono_ns, established, event.ret);
                if let (Some(Told { error: Some(_), .. }), Some(target)) = (told, &target) {
                    socket.set_remote(target);
                }
                told
            }
            None => connect::returned(&mut None, header.mono_ns, false, event.ret),
        };
        if let Some(told) = told {
            let info = if info.rport == 0 {
                target.as_ref().unwrap_or(info)
            } else {
                info
            };
            changes.push(self.change(header, info, Some(event.fd), told.into()));
        }
    }

    fn accepted(&mut self, event: &AcceptEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        self.own(header, info, event.fd);
        self.hold(header.tgid, event.fd, info.id);
        let mut queued_ns = None;
        if let Some(socket) = self.sockets.get_mut(&info.id) {
            socket.role = Role::Server;
            // With TCP Fast Open it is in the queue before it is established.
            let queued = socket.established.or(socket.born);
            queued_ns = queued.map(|since| header.mono_ns.saturating_sub(since));
        }
        let what = What::Accept {
            queued_ns,
            listener: cookie(event.listener),
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    fn state_changed(&mut self, event: &StateEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let Some(transition) = Transition::of(event) else {
            return;
        };
        let now = header.mono_ns;
        if transition.new == SynRecv && transition.old == Listen {
            // A child of a listener: another socket, which merely begins as its copy.
            self.sockets.insert(info.id, Socket::born(info, now));
        }
        if transition.old == Close {
            let fd = (event.connect_fd >= 0).then_some(event.connect_fd);
            let process = self.processes.get(header.tgid);
            if let Some(socket) = self.socket(info) {
                socket.own(&process, fd);
            }
        }
        let Some(socket) = self.socket(info) else {
            return;
        };
        let told = step(socket, transition, event);
        let in_old_ns = socket.state_since.map(|since| now.saturating_sub(since));
        let outcome = transition.ends_connection().then(|| {
            let since = socket.established.or(socket.state_since);
            Outcome {
                duration_ns: since.map(|since| now.saturating_sub(since)),
                reason: transition.reason(),
                bytes: socket.bytes.unwrap_or_default(),
            }
        });
        (socket.state, socket.state_since) = (transition.new, Some(now));
        let what = What::State {
            old: transition.old,
            new: transition.new,
            in_old_ns,
            outcome,
            role: socket.role,
        };
        let mut change = self.change(header, info, None, what);
        if !transition.by_caller() {
            (change.actor, change.tid) = (None, None);
        }
        let told = told.map(|told| Change {
            what: told.into(),
            ..change.clone()
        });
        changes.push(change);
        changes.extend(told);
    }

    fn closed(&mut self, event: &CloseEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        self.socket(info);
        self.holders.release(header.tgid, event.fd);
        self.unhold(info.id, header.tgid, event.fd);
        let by = ClosedBy::from_number(event.by).map_or(By::Close, By::from);
        let what = What::Close {
            by,
            holders_left: u64::try_from(event.references_left).ok(),
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    fn destroyed(&mut self, event: &DestroyEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let known = self.sockets.contains_key(&info.id);
        let Some(socket) = self.socket(info) else {
            return;
        };
        let never_connected = socket.attempt.is_none() && socket.established.is_none();
        let unseen = if known && never_connected {
            Reason::Closed
        } else {
            Reason::Unknown
        };
        let what = What::End {
            lifetime_ns: socket.born.map(|born| header.mono_ns.saturating_sub(born)),
            role: socket.role,
            reason: socket.reason.unwrap_or(unseen),
            bytes: socket
                .bytes
                .or_else(|| (known && never_connected).then(Default::default)),
        };
        let mut change = self.change(header, info, None, what);
        (change.actor, change.tid) = (None, None);
        changes.push(change);
        if let Some(socket) = self.sockets.remove(&info.id) {
            for holder in socket.holders {
                self.holders.release(holder.pid, holder.fd);
            }
        }
    }

    fn process_told(&mut self, event: &ProcessEvent) {
        self.processes
            .begin(event.header.tgid, Comm::new(event.comm));
    }

    fn forked(&mut self, event: &ForkEvent) {
        self.processes.begin(event.child, Comm::new(event.comm));
        if event.shares_descriptors != 0 {
            // One table for both: whoever closes, closes for both.
            return;
        }
        for (fd, id) in self.holders.fork(event.header.tgid, event.child) {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.holders.push(super::Holder {
                    pid: event.child,
                    fd,
                });
            }
        }
    }

    fn executed(&mut self, event: &ExecEvent, changes: &mut Vec<Change>) {
        let process = self
            .processes
            .rename(event.header.tgid, Comm::new(event.comm));
        self.reown(&process);
        let released = self.holders.keep(process.pid, &event.open);
        self.let_go(&event.header, released, By::Exec, changes);
    }

    fn exited(&mut self, header: &Header, changes: &mut Vec<Change>) {
        let released = self.holders.release_all(header.tgid);
        self.let_go(header, released, By::Exit, changes);
        self.processes.forget(header.tgid);
    }

    fn descriptors_closed(&mut self, event: &DescriptorsEvent, changes: &mut Vec<Change>) {
        let by = ClosedBy::from_number(event.by).map_or(By::CloseRange, By::from);
        let released = self.holders.keep(event.header.tgid, &event.open);
        self.let_go(&event.header, released, by, changes);
    }

    /// A process lets go of several descriptors without a word about each.
    fn let_go(
        &mut self,
        header: &Header,
        released: Vec<(i32, u64)>,
        by: By,
        changes: &mut Vec<Change>,
    ) {
        for (fd, id) in released {
            self.unhold(id, header.tgid, fd);
            let Some(socket) = self.sockets.get(&id) else {
                continue;
            };
            changes.push(Change {
                mono_ns: header.mono_ns,
                socket: socket.view(),
                actor: Some(header.tgid),
                tid: Some(header.tid),
                fd: Some(fd),
                what: What::Close {
                    by,
                    // Who else holds it may be more than the calls we saw.
                    holders_left: None,
                },
            });
        }
    }

    /// The running process is the owner unless there is one.
    fn own(&mut self, header: &Header, info: &SocketInfo, fd: i32) {
        let process = self.processes.get(header.tgid);
        if let Some(socket) = self.socket(info) {
            socket.own(&process, Some(fd));
        }
    }
}

/// What a transition does to the socket, besides its state; the outcome of an open if it tells.
fn step(socket: &mut Socket, transition: Transition, event: &StateEvent) -> Option<Told> {
    let now = event.header.mono_ns;
    let Transition {
        old, new, error, ..
    } = transition;
    let was_established = socket.established.is_some();
    match (old, new) {
        (Close, SynSent) => {
            socket.role = Role::Client;
            socket.attempt = Some(connect::begin(now, event.connect_fd >= 0));
            // A second life of the same socket.
            (socket.established, socket.reason, socket.bytes) = (None, None, None);
        }
        (Close, Listen) => socket.role = Role::Listener,
        (Listen, SynRecv) => socket.role = Role::Server,
        (_, Established) => socket.established = Some(now),
        _ => {}
    }
    if matches!(new, Close | TcpState::TimeWait) {
        socket.reason = Some(transition.reason());
        if transition.ends_connection() {
            // Without our having seen it begin, whether a SYN counts is known from the state.
            let established = was_established || old != SynSent;
            socket.bytes = Some(transition.bytes(event, socket.role, established));
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

impl From<Told> for What {
    fn from(told: Told) -> Self {
        Self::Connect {
            error: told.error,
            latency_ns: told.latency_ns,
        }
    }
}

impl From<ClosedBy> for By {
    fn from(by: ClosedBy) -> Self {
        match by {
            ClosedBy::Close => Self::Close,
            ClosedBy::Dup => Self::Dup,
            ClosedBy::Exec => Self::Exec,
            ClosedBy::CloseRange => Self::CloseRange,
        }
    }
}

fn errno(ret: i32) -> Option<i32> {
    (ret < 0).then_some(-ret)
}

/// Where a failed `connect()` wanted to go: `struct sockaddr_in` or `sockaddr_in6`.
fn target(event: &ConnectEvent) -> Option<SocketInfo> {
    let bytes = &event.target;
    let mut info = event.socket;
    info.rport = u16::from_be_bytes([bytes[2], bytes[3]]);
    info.raddr = [0; 16];
    match u16::from_ne_bytes([bytes[0], bytes[1]]) {
        family if family == u16::from(FAMILY_IPV4) => {
            info.raddr[..4].copy_from_slice(&bytes[4..8]);
            info.family = FAMILY_IPV4;
        }
        family if family == u16::from(FAMILY_IPV6) => info.raddr.copy_from_slice(&bytes[8..24]),
        _ => return None,
    }
    Some(info)
}
