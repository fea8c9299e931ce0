//! System calls on a socket, in the order of its life: here owners are learnt.

use socktrace_common::{
    event::{AcceptEvent, CallEvent, CloseEvent, ClosedBy, ConnectEvent, Header, SocketEvent},
    socket::{Protocol, SocketInfo, TcpState::Established},
};

use super::{
    Audience, SocketTable, audience::Completed, connect, rules::target, socket::Socket,
    view::cookie,
};
use crate::change::{By, Change, Role, What};

impl SocketTable {
    pub(super) fn socket_created(&mut self, event: &SocketEvent, audience: &mut impl Audience) {
        let (header, info) = (&event.header, &event.socket);
        let process = self.running(header).cloned();
        // io_uring may tell of a socket after what it did with it; its birth is not known then.
        let used = self.sockets.get(info.id).is_some_and(Socket::was_seen);
        let socket = if used {
            self.socket(info)
        } else {
            self.begin(info, header.mono_ns)
        };
        if let Some(socket) = socket {
            socket.created(header, event.fd, process.as_ref());
            self.holds(header, event.fd, info.id);
        }
        let what = What::Socket {
            socket_type: event.socket_type,
        };
        self.tell(header, info, Some(event.fd), what, audience);
    }

    pub(super) fn bound(&mut self, event: &CallEvent, audience: &mut impl Audience) {
        if let Some(socket) = self.socket(&event.socket) {
            socket.flags.settled |= event.ret == 0;
        }
        let asked = self.name_for(&event.socket);
        let what = What::Bind {
            error: errno(event.ret),
            asked: event.arg.checked_sub(1).and_then(|it| it.try_into().ok()),
        };
        let mut named = Completed {
            audience,
            complete: |row: &mut Change| {
                if let Some(name) = &asked {
                    // It did not get it, so the socket is not called so.
                    row.socket.names_mut().local = Some(name.clone());
                }
            },
        };
        self.tell(
            &event.header,
            &event.socket,
            Some(event.fd),
            what,
            &mut named,
        );
    }

    pub(super) fn listening(&mut self, event: &CallEvent, audience: &mut impl Audience) {
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
        self.tell(&event.header, &event.socket, Some(event.fd), what, audience);
    }

    pub(super) fn connected(&mut self, event: &ConnectEvent, audience: &mut impl Audience) {
        let (header, info) = (&event.header, &event.socket);
        let tcp = Protocol::of(info.family, info.proto) == Protocol::Tcp;
        let known = self.sockets.get(info.id);
        let established = tcp && known.is_some_and(|it| it.state == Established);
        let name = self.name_for(info);
        // Every other success leaves it connected; of TCP the state changes tell. A datagram
        // socket of the family Unix has a named peer, and says so by its state since 5.15.
        let disconnected =
            !tcp && event.ret == 0 && info.state != Established as u8 && name.is_none();
        let process = self.running(header).cloned();
        let told = match self.socket(info) {
            Some(socket) => {
                let told = socket.connected(
                    header,
                    event.fd,
                    event.ret,
                    process.as_ref(),
                    established,
                    disconnected,
                );
                if told.is_some_and(|told| told.error.is_some())
                    && let Some(target) = target(event)
                {
                    socket.set_remote(&target);
                }
                if event.ret == 0 && (name.is_some() || socket.names.is_some()) {
                    socket.names_mut().remote.clone_from(&name);
                }
                told
            }
            None => connect::returned(&mut None, header.mono_ns, false, event.ret),
        };
        if let Some(told) = told {
            let target = target(event).filter(|_| info.rport == 0);
            let info = target.as_ref().unwrap_or(info);
            let mut named = Completed {
                audience,
                complete: |row: &mut Change| {
                    if let Some(name) = &name {
                        // Of a failed call, where it wanted to go.
                        row.socket.names_mut().remote = Some(name.clone());
                    }
                },
            };
            self.tell(header, info, Some(event.fd), told.into(), &mut named);
        }
    }

    pub(super) fn accepted(&mut self, event: &AcceptEvent, audience: &mut impl Audience) {
        let (header, info) = (&event.header, &event.socket);
        let process = self.running(header).cloned();
        let socket = self.socket(info);
        let queued_ns = socket.and_then(|it| it.accepted(header, event.fd, process.as_ref()));
        self.holds(header, event.fd, info.id);
        self.count_accept(header, event.listener);
        let what = What::Accept {
            queued_ns,
            listener: cookie(event.listener),
        };
        self.tell(header, info, Some(event.fd), what, audience);
    }

    /// The running process has accepted a connection of this listener.
    pub(super) fn count_accept(&mut self, header: &Header, listener: u64) {
        if self.sockets.contains(listener) {
            let accepts = self.accepts.entry(listener).or_default();
            accepts.add(header.tgid);
        }
    }

    pub(super) fn closed(&mut self, event: &CloseEvent, audience: &mut impl Audience) {
        let (header, info) = (&event.header, &event.socket);
        self.socket(info);
        let own = self.sockets.get(info.id).map(Socket::id);
        if !self.late || self.holders.held(header.tgid, event.fd) == own {
            self.holders.release(header.tgid, event.fd);
        }
        self.unhold(info.id, header.tgid, event.fd);
        let what = What::closed(event.by, event.references_left);
        self.tell(header, info, Some(event.fd), what, audience);
    }

    /// The running process is the owner unless there is one.
    fn own(&mut self, header: &Header, info: &SocketInfo, fd: i32) {
        let process = self.running(header).cloned();
        if let Some(socket) = self.socket(info) {
            socket.own(process.as_ref(), Some(fd));
        }
    }
}

impl What {
    /// A descriptor went: why, and how many references are left, as [`CloseEvent`] has them.
    pub(super) fn closed(by: u32, references_left: i64) -> Self {
        Self::Close {
            by: ClosedBy::from_number(by).map_or(By::Close, By::from),
            holders_left: u64::try_from(references_left).ok(),
        }
    }
}

fn errno(ret: i32) -> Option<i32> {
    (ret < 0).then_some(-ret)
}
