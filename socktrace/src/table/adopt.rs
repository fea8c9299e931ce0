//! What a snapshot shows: sockets that no event told of, and what events left wrong.

use socktrace_common::socket::{
    Protocol, SocketInfo,
    TcpState::{self, Close, Listen, TimeWait},
};

use super::{
    Audience, Pass, SocketTable, inode_id,
    socket::{Holder, Socket},
};
use crate::{
    change::{Change, Learned, Role, What},
    source::Adopted,
};

impl SocketTable {
    /// Takes in what a snapshot found, and tells what was news. What events told of a socket
    /// since the snapshot began stands: they are newer.
    ///
    /// The first snapshot goes here before the events that came while it was taken: they then find
    /// the socket as it was, whether they are older or newer than its row. Later ones go here after
    /// them: the table knows more by then than the snapshot.
    pub fn adopt(&mut self, adopted: &Adopted, audience: &mut impl Audience) {
        let id = adopted.socket.id;
        let former = inode_id(&adopted.socket);
        let ended = |pass: &Pass| {
            pass.ended.contains(&id) || former.is_some_and(|former| pass.ended.contains(&former))
        };
        if id == 0 || self.pass.as_ref().is_some_and(ended) {
            return;
        }
        if let Some(until_ns) = adopted.until_ns {
            if !self.keeps_time_waits {
                return;
            }
            let news = self.time_waits.sight(&adopted.socket, until_ns);
            self.count(Learned::TimeWait, u64::from(news));
            return;
        }
        if !self.sockets.contains(id) {
            self.rename(&adopted.socket);
        }
        match self.sockets.get_mut(id) {
            None => self.take_in(adopted, audience),
            Some(socket) => {
                (socket.flags.sighted, socket.flags.settled) = (true, true);
                if !socket.flags.touched {
                    self.correct(adopted, audience);
                }
            }
        }
    }

    /// A socket of which nothing was known.
    fn take_in(&mut self, adopted: &Adopted, audience: &mut impl Audience) {
        let mut socket = Socket::new(&adopted.socket);
        (socket.flags.sighted, socket.flags.settled) = (true, true);
        socket.older_than(adopted.born_ns, adopted.state_since_ns);
        socket.role = role(adopted);
        if adopted.name.is_some() {
            socket.names_mut().local.clone_from(&adopted.name);
        }
        let (id, state) = (socket.id(), socket.tcp_state());
        self.keep(socket);
        // To list it gave it its cookie: what was told before knows it by its inode.
        if let Some(former) = inode_id(&adopted.socket).filter(|_| self.snapshots == 0) {
            self.sockets.also_named(former, id);
        }
        self.hand_over(adopted);
        self.learned(id, Learned::Open, state, audience);
    }

    /// A socket that events told of, but nothing since the snapshot began: the snapshot is right.
    fn correct(&mut self, adopted: &Adopted, audience: &mut impl Audience) {
        let id = adopted.socket.id;
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let before = socket.tcp_state();
        let state = before.and_then(|_| TcpState::from_number(adopted.socket.state));
        let (lport, rport) = (socket.info().lport, socket.info().rport);
        socket.update(&shown(adopted, socket.info()));
        socket.flags.touched = false;
        if socket.role == Role::Unknown {
            socket.role = role(adopted);
        }
        // A socket whose connection is over is in CLOSE, whatever has become of its port.
        if let (Some(before), Some(state)) = (before, state)
            && before != state
            && !(before == TimeWait && state == Close)
        {
            socket.enter(state, adopted.state_since_ns.max(1));
            socket.flags.longer = true;
            self.learned(id, Learned::State, Some(before), audience);
        }
        let ports = (adopted.socket.lport, adopted.socket.rport);
        let named = self.name_is_news(adopted);
        if named || (ports.0 != 0 && ports.0 != lport) || (ports.1 != 0 && ports.1 != rport) {
            self.learned(id, Learned::Address, state, audience);
        }
        let unowned = |socket: &Socket| socket.owner.is_none();
        let had_no_owner = self.sockets.get(id).is_some_and(unowned);
        if self.hand_over(adopted) {
            self.count(Learned::Holders, 1);
        }
        if had_no_owner && !adopted.holders.is_empty() {
            self.learned(id, Learned::Owner, state, audience);
        }
    }

    /// Takes over what a Unix socket is called, if that was not known.
    fn name_is_news(&mut self, adopted: &Adopted) -> bool {
        let (Some(name), Some(socket)) = (&adopted.name, self.sockets.get_mut(adopted.socket.id))
        else {
            return false;
        };
        let own = socket.names.as_ref().and_then(|names| names.local.as_ref());
        let news = own.is_none();
        if news {
            socket.names_mut().local = Some(name.clone());
        }
        news
    }

    /// Whoever the snapshot says holds the socket, and nobody else; says whether that was news.
    fn hand_over(&mut self, adopted: &Adopted) -> bool {
        let id = adopted.socket.id;
        let Some(socket) = self.sockets.get_mut(id) else {
            return false;
        };
        if let Some(&(pid, fd)) = adopted.holders.first() {
            socket.adopt(&self.processes.get(pid), fd);
        }
        let holders = adopted.holders.iter().map(|&(pid, fd)| Holder { pid, fd });
        let same = socket.holders.len() == adopted.holders.len()
            && holders
                .clone()
                .all(|holder| socket.holders.contains(&holder));
        if same {
            return false;
        }
        for holder in std::mem::take(&mut socket.holders) {
            self.holders.release(holder.pid, holder.fd);
        }
        for holder in holders {
            self.hold(holder.pid, holder.fd, id);
        }
        true
    }

    /// Tells what a snapshot taught, and counts it. `old` is the state before.
    pub(super) fn learned(
        &mut self,
        id: u64,
        learned: Learned,
        old: Option<TcpState>,
        audience: &mut impl Audience,
    ) {
        self.count(learned, 1);
        let (Some(socket), Some(pass)) = (self.sockets.get(id), &self.pass) else {
            return;
        };
        let now = pass.began_ns;
        audience.row(&mut Change {
            mono_ns: now,
            socket: socket.view(),
            actor: None,
            tid: None,
            fd: socket.fd(),
            what: What::Snapshot {
                learned,
                old,
                new: socket.tcp_state(),
                age_ns: socket.age_ns(now),
                in_state_ns: socket.in_state_ns(now),
            },
        });
    }
}

/// What the snapshot says of a socket that was known as `before`. Of raw sockets it may know
/// nothing but who holds them: no dump shows them without `raw_diag`.
fn shown(adopted: &Adopted, before: &SocketInfo) -> SocketInfo {
    let mut shown = adopted.socket;
    let raw = Protocol::of(shown.family, shown.proto) == Protocol::Raw;
    if raw && (shown.laddr, shown.raddr) == ([0; 16], [0; 16]) {
        (shown.laddr, shown.raddr) = (before.laddr, before.raddr);
    }
    shown
}

/// Its part in the connection: known from listeners, never from the size of a port.
fn role(adopted: &Adopted) -> Role {
    match TcpState::from_number(adopted.socket.state) {
        Some(Listen) => Role::Listener,
        _ if adopted.served => Role::Server,
        _ => Role::Unknown,
    }
}
