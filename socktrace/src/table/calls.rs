//! System calls on a socket, in the order of its life: here owners are learnt.

use socktrace_common::{
    event::{AcceptEvent, CallEvent, CloseEvent, ClosedBy, ConnectEvent, Header, SocketEvent},
    socket::{FAMILY_IPV4, FAMILY_IPV6, Protocol, SocketInfo, TcpState::Established},
};

use super::{
    SocketTable,
    connect::{self, Told},
    opened::Call,
    socket::Socket,
    view::cookie,
};
use crate::change::{By, Change, Role, What};

impl SocketTable {
    pub(super) fn socket_created(&mut self, event: &SocketEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let process = self.running(header);
        // io_uring may tell of a socket after what it did with it; its birth is not known then.
        let used = self.sockets.get(info.id).is_some_and(Socket::was_seen);
        let socket = if used {
            self.socket(info)
        } else {
            self.begin(info, header.mono_ns)
        };
        if let Some(socket) = socket {
            socket.own_exactly(process.as_ref(), Some(event.fd));
            socket.open_by(header, Call::Socket);
            self.holds(header, event.fd, info.id);
        }
        let what = What::Socket {
            socket_type: event.socket_type,
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    pub(super) fn bound(&mut self, event: &CallEvent, changes: &mut Vec<Change>) {
        if let Some(socket) = self.socket(&event.socket) {
            socket.flags.settled |= event.ret == 0;
        }
        let asked = self.name_for(&event.socket);
        let what = What::Bind {
            error: errno(event.ret),
            asked: event.arg.checked_sub(1).and_then(|it| it.try_into().ok()),
        };
        let mut change = self.change(&event.header, &event.socket, Some(event.fd), what);
        if let Some(name) = asked {
            // It did not get it, so the socket is not called so.
            change.socket.names_mut().local = Some(name);
        }
        changes.push(change);
    }

    pub(super) fn listening(&mut self, event: &CallEvent, changes: &mut Vec<Change>) {
        self.own(&event.header, &event.socket, event.fd);
        if event.ret == 0
            && let Some(socket) = self.sockets.get_mut(event.socket.id)
        {
            // Of TCP the state change has told.
            socket.role = Role::Listener;
        }
        let what = What::Listen {
            backlog: event.arg,
            error: errno(event.ret),
        };
        changes.push(self.change(&event.header, &event.socket, Some(event.fd), what));
    }

    pub(super) fn connected(&mut self, event: &ConnectEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let tcp = Protocol::of(info.family, info.proto) == Protocol::Tcp;
        let established = tcp
            && self
                .sockets
                .get(info.id)
                .is_some_and(|socket| socket.state == Established);
        let name = self.name_for(info);
        // Every other success leaves it connected; of TCP the state changes tell. A datagram
        // socket of the family Unix has a named peer, and says so by its state since 5.15.
        let disconnected =
            !tcp && event.ret == 0 && info.state != Established as u8 && name.is_none();
        self.own(header, info, event.fd);
        let target = target(event);
        let told = match self.sockets.get_mut(info.id) {
            Some(socket) => {
                socket.open_by(header, Call::Connect);
                let told =
                    connect::returned(&mut socket.attempt, header.mono_ns, established, event.ret);
                if told.is_some() && !disconnected {
                    // It tried, even if it did not get as far as SYN_SENT.
                    socket.role = Role::Client;
                }
                if let (Some(Told { error: Some(_), .. }), Some(target)) = (told, &target) {
                    socket.set_remote(target);
                }
                if event.ret == 0 && (name.is_some() || socket.names.is_some()) {
                    socket.names_mut().remote.clone_from(&name);
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
            let mut change = self.change(header, info, Some(event.fd), told.into());
            if let Some(name) = name {
                // Of a failed call, where it wanted to go.
                change.socket.names_mut().remote = Some(name);
            }
            changes.push(change);
        }
    }

    pub(super) fn accepted(&mut self, event: &AcceptEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        let process = self.running(header);
        let mut queued_ns = None;
        if let Some(socket) = self.socket(info) {
            socket.own_exactly(process.as_ref(), Some(event.fd));
            socket.open_by(header, Call::Accept);
            socket.role = Role::Server;
            // With TCP Fast Open it is in the queue before it is established.
            let queued = socket.established().or(socket.birth());
            queued_ns = queued.map(|since| header.mono_ns.saturating_sub(since));
        }
        self.holds(header, event.fd, info.id);
        if self.sockets.contains(event.listener) {
            let accepts = self.accepts.entry(event.listener).or_default();
            accepts.add(header.tgid);
        }
        let what = What::Accept {
            queued_ns,
            listener: cookie(event.listener),
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    pub(super) fn closed(&mut self, event: &CloseEvent, changes: &mut Vec<Change>) {
        let (header, info) = (&event.header, &event.socket);
        self.socket(info);
        let own = self.sockets.get(info.id).map(Socket::id);
        if !self.late || self.holders.held(header.tgid, event.fd) == own {
            self.holders.release(header.tgid, event.fd);
        }
        self.unhold(info.id, header.tgid, event.fd);
        let by = ClosedBy::from_number(event.by).map_or(By::Close, By::from);
        let what = What::Close {
            by,
            holders_left: u64::try_from(event.references_left).ok(),
        };
        changes.push(self.change(header, info, Some(event.fd), what));
    }

    /// The running process is the owner unless there is one.
    fn own(&mut self, header: &Header, info: &SocketInfo, fd: i32) {
        let process = self.running(header);
        if let Some(socket) = self.socket(info) {
            socket.own(process.as_ref(), Some(fd));
        }
    }
}

impl From<Told> for What {
    fn from(told: Told) -> Self {
        Self::Connect {
            error: told.error,
            latency_ns: told.latency_ns,
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
