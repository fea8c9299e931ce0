//! What we know of one socket.

use std::sync::Arc;

use smallvec::SmallVec;
use socktrace_common::socket::{Protocol, SocketInfo, TcpState};
use zerocopy::FromZeros as _;

use super::{connect::Attempt, opened::Call, view::view};
use crate::{
    change::{Bytes, Names, Ownership, Reason, Role, View},
    process::Process,
};

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) fd: i32,
}

/// A time that is not known: nothing was traced when the clock began.
const NEVER: u64 = 0;

/// What we know of one socket. There are as many as there are sockets, so a field that says
/// nothing most of the time is a flag or a zero.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    /// What the kernel last said of it.
    info: SocketInfo,
    born: u64,
    state_since: u64,
    established: u64,
    pub(super) owner: Option<Arc<Process>>,
    /// Who holds it, as far as we know.
    pub(super) holders: SmallVec<[Holder; 2]>,
    pub(super) attempt: Option<Attempt>,
    bytes: Bytes,
    /// The owner's descriptor; -1 if it is not known.
    fd: i32,
    pub(super) state: TcpState,
    pub(super) role: Role,
    pub(super) reason: Option<Reason>,
    /// See [`Opened`](super::Opened): apart, it takes no more room.
    pub(super) stack: u32,
    pub(super) opened_by: Call,
    /// Of Unix sockets.
    pub(super) names: Option<Arc<Names>>,
    pub(super) flags: Flags,
}

/// What is or is not so of a socket.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Flags {
    /// The owner was found by a snapshot, not by what it did.
    pub(super) adopted: bool,
    /// It is at least as old as `born` says: it was there before we looked.
    pub(super) older: bool,
    /// It has been in its state at least since `state_since`.
    pub(super) longer: bool,
    /// `bytes` are those of a connection that is over.
    has_bytes: bool,
    /// Something was told of it since the snapshot that is being taken began.
    pub(super) touched: bool,
    /// The snapshot that is being taken has it.
    pub(super) sighted: bool,
    /// In how many snapshots in a row it was not, although nothing was told of it.
    pub(super) missed: u8,
    /// It has an address, which its protocol never takes away: it was bound, or a snapshot has
    /// shown it.
    pub(super) settled: bool,
    /// It has been told that it connected, was accepted or listens.
    pub(super) took_part: bool,
}

impl Default for Socket {
    fn default() -> Self {
        Self::new(&SocketInfo::new_zeroed())
    }
}

impl Socket {
    /// A socket of which only `info` is known.
    pub(super) fn new(info: &SocketInfo) -> Self {
        Self {
            info: *info,
            state: TcpState::from_number(info.state).unwrap_or(TcpState::Close),
            state_since: NEVER,
            born: NEVER,
            established: NEVER,
            owner: None,
            role: Role::Unknown,
            fd: -1,
            holders: SmallVec::new(),
            attempt: None,
            reason: None,
            bytes: Bytes::default(),
            names: None,
            stack: 0,
            opened_by: Call::Unseen,
            flags: Flags {
                touched: true,
                ..Flags::default()
            },
        }
    }

    /// A socket that begins now.
    pub(super) fn born(info: &SocketInfo, now: u64) -> Self {
        Self {
            born: now,
            state_since: now,
            ..Self::new(info)
        }
    }

    /// Takes over owner and holders, which a snapshot found.
    pub(super) fn inherit(&mut self, found: Self) {
        // It may have got its cookie since.
        self.info.id = found.info.id;
        self.flags.adopted = found.flags.adopted;
        self.flags.settled = found.flags.settled;
        self.names = found.names;
        self.owner = found.owner;
        self.fd = found.fd;
        self.holders = found.holders;
    }

    /// Was it seen to do something, and not merely found by a snapshot?
    pub(super) fn was_seen(&self) -> bool {
        !(self.flags.older && self.flags.longer)
    }

    /// It connects, was accepted or listens; is that told for the first time?
    pub(super) fn takes_part(&mut self) -> bool {
        !std::mem::replace(&mut self.flags.took_part, true)
    }

    /// Its identity; 0 if it is over.
    pub(super) fn id(&self) -> u64 {
        self.info.id
    }

    /// Something of each part of it, so that all of them are read.
    pub(super) fn read(&self) -> u64 {
        let holders = self.holders.len() as u64;
        self.born ^ self.established ^ self.bytes.received ^ holders ^ u64::from(self.stack)
    }

    /// It has a cookie now.
    pub(super) fn rename(&mut self, id: u64) {
        self.info.id = id;
    }

    /// Its state, if it has one: only TCP does.
    pub(super) fn tcp_state(&self) -> Option<TcpState> {
        (self.protocol() == Protocol::Tcp).then_some(self.state)
    }

    /// What the kernel last said of it.
    pub(super) fn info(&self) -> &SocketInfo {
        &self.info
    }

    /// How long it has been there by `now`, nanoseconds; `None` if it was there before we looked.
    pub(super) fn lifetime_ns(&self, now: u64) -> Option<u64> {
        self.birth().map(|born| now.saturating_sub(born))
    }

    /// When it was created; `None` if that was before we looked.
    pub(super) fn birth(&self) -> Option<u64> {
        known(self.born).filter(|_| !self.flags.older)
    }

    /// When it entered its state; `None` if that was before we looked.
    pub(super) fn in_state_since(&self) -> Option<u64> {
        known(self.state_since).filter(|_| !self.flags.longer)
    }

    /// It was there at this time, and maybe before.
    pub(super) fn born_ns(&self) -> Option<u64> {
        known(self.born)
    }

    /// It has been in its state since this time, and maybe longer.
    pub(super) fn state_since_ns(&self) -> Option<u64> {
        known(self.state_since)
    }

    /// How old it is by `now` at least, nanoseconds.
    pub(super) fn age_ns(&self, now: u64) -> Option<u64> {
        known(self.born).map(|born| now.saturating_sub(born))
    }

    /// How long it has been in its state by `now` at least, nanoseconds.
    pub(super) fn in_state_ns(&self, now: u64) -> Option<u64> {
        let since = known(self.state_since).filter(|_| self.tcp_state().is_some());
        since.map(|since| now.saturating_sub(since))
    }

    /// When it was established, if we saw that.
    pub(super) fn established(&self) -> Option<u64> {
        known(self.established)
    }

    pub(super) fn set_established(&mut self, at: Option<u64>) {
        self.established = at.unwrap_or(NEVER);
    }

    /// It enters a state now.
    pub(super) fn enter(&mut self, state: TcpState, now: u64) {
        (self.state, self.state_since, self.flags.longer) = (state, now, false);
    }

    /// It is at least this old, and at least this long in its state: times of `CLOCK_MONOTONIC`.
    pub(super) fn older_than(&mut self, born: u64, state_since: u64) {
        (self.born, self.flags.older) = (born.max(1), true);
        (self.state_since, self.flags.longer) = (state_since.max(1), true);
    }

    /// Payload of a connection that is over.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        self.flags.has_bytes.then_some(self.bytes)
    }

    pub(super) fn set_bytes(&mut self, bytes: Option<Bytes>) {
        self.flags.has_bytes = bytes.is_some();
        self.bytes = bytes.unwrap_or_default();
    }

    /// The owner's descriptor.
    pub(super) fn fd(&self) -> Option<i32> {
        (self.fd >= 0).then_some(self.fd)
    }

    /// What kind of socket it is.
    pub(super) fn protocol(&self) -> Protocol {
        Protocol::of(self.info.family, self.info.proto)
    }

    /// Takes over what the kernel says now. Of TCP it says less at the end than before: a closed
    /// socket has no inode, and one that was disconnected no remote port. Of others all that it
    /// says is true: they can be connected again and again.
    pub(super) fn update(&mut self, info: &SocketInfo) {
        let before = self.info;
        self.info = *info;
        // The table finds it by that; see `Store::rename`.
        self.info.id = before.id;
        self.flags.touched = true;
        if info.inode == 0 {
            self.info.inode = before.inode;
        }
        if self.protocol() != Protocol::Tcp {
            if info.rport == 0 && self.protocol().has_ports() {
                // An IPv6 socket that was disconnected keeps the address.
                self.info.raddr = [0; 16];
            }
            return;
        }
        if info.rport == 0 {
            (self.info.rport, self.info.raddr) = (before.rport, before.raddr);
        }
        if info.lport == 0 {
            self.info.lport = before.lport;
        }
        if info.laddr == [0; 16] {
            self.info.laddr = before.laddr;
        }
    }

    /// The kernel said only that it was in this state.
    pub(super) fn is_said_to_be(&mut self, state: u8) {
        self.info.state = state;
    }

    /// Where it was going, for a call that failed before the socket knew it.
    pub(super) fn set_remote(&mut self, info: &SocketInfo) {
        (self.info.raddr, self.info.rport) = (info.raddr, info.rport);
    }

    /// What it and its peer are called.
    pub(super) fn names_mut(&mut self) -> &mut Names {
        Arc::make_mut(self.names.get_or_insert_default())
    }

    /// Makes `process` the owner unless there is one, or it is not known who it is.
    pub(super) fn own(&mut self, process: Option<&Arc<Process>>, fd: Option<i32>) {
        let Some(process) = process else {
            return;
        };
        let owner = self.owner.get_or_insert_with(|| Arc::clone(process));
        // A direct descriptor of io_uring has no number that says anything.
        if owner.is(process) && self.fd < 0 {
            self.fd = fd.unwrap_or(-1);
        }
    }

    /// Makes `process` the owner, which was seen to create or accept it: that is worth more than
    /// what a snapshot says.
    pub(super) fn own_exactly(&mut self, process: Option<&Arc<Process>>, fd: Option<i32>) {
        if process.is_some() && self.flags.adopted {
            (self.owner, self.fd, self.flags.adopted) = (None, -1, false);
        }
        self.own(process, fd);
    }

    /// Who held it when it was found.
    pub(super) fn adopt(&mut self, process: &Arc<Process>, fd: i32) {
        if self.owner.is_none() {
            self.own(Some(process), Some(fd));
            self.flags.adopted = true;
        }
    }

    /// As people see it.
    pub(super) fn view(&self) -> View {
        View {
            owner: self.owner.clone(),
            ownership: self.ownership(),
            ..self.anonymous()
        }
    }

    /// The same, but for whose it is.
    #[inline]
    pub(super) fn anonymous(&self) -> View {
        View {
            names: self.names.clone(),
            ..view(&self.info)
        }
    }

    /// How it is known whose it is.
    pub(super) fn ownership(&self) -> Ownership {
        match (&self.owner, self.flags.adopted) {
            (Some(_), true) => Ownership::Adopted,
            (Some(_), false) => Ownership::Exact,
            (None, _) => Ownership::Unknown,
        }
    }
}

fn known(time: u64) -> Option<u64> {
    (time != NEVER).then_some(time)
}

#[cfg(test)]
mod tests {
    use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, PROTO_TCP, PROTO_UDP};

    use super::*;
    use crate::change::Endpoint;

    #[test]
    fn a_socket_is_small() {
        assert!(size_of::<Socket>() <= 184, "{}", size_of::<Socket>());
    }

    #[test]
    fn what_the_kernel_forgets_at_the_end_is_kept() {
        let mut info = SocketInfo::new_zeroed();
        (info.family, info.inode, info.lport, info.rport) = (FAMILY_IPV4, 7, 80, 90);
        info.raddr[0] = 10;
        let mut socket = Socket::new(&info);
        let mut last = SocketInfo::new_zeroed();
        (last.family, last.proto) = (FAMILY_IPV4, PROTO_TCP);
        socket.update(&last);
        let view = socket.view();
        assert_eq!((view.inode, view.remote.port), (Some(7), Some(90)));
    }

    #[test]
    fn a_datagram_socket_forgets_its_peer_with_the_kernel() {
        let mut info = SocketInfo::new_zeroed();
        (info.family, info.proto) = (FAMILY_IPV6, PROTO_UDP);
        (info.inode, info.lport, info.rport, info.raddr[15]) = (7, 80, 90, 1);
        let mut socket = Socket::new(&info);
        // As after a connect() with AF_UNSPEC.
        (info.inode, info.lport, info.rport) = (0, 0, 0);
        socket.update(&info);
        let view = socket.view();
        assert_eq!(view.remote, Endpoint::default());
        assert_eq!((view.inode, view.local.port), (Some(7), None));
    }
}
