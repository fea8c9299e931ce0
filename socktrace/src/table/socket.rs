//! What we know of one socket.

use std::sync::Arc;

use smallvec::SmallVec;
use socktrace_common::socket::{Protocol, SYNTHETIC_ID, SocketInfo, TcpState};

use super::connect::Attempt;
use crate::{
    change::{Bytes, Endpoint, Family, Names, Ownership, Reason, Role, View},
    process::Process,
};

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) fd: i32,
}

/// What we know of one socket.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    /// What the kernel last said of it.
    info: SocketInfo,
    pub(super) state: TcpState,
    /// When it entered that state; `None` if that was before we looked.
    pub(super) state_since: Option<u64>,
    /// When it was created; `None` if that was before we looked.
    pub(super) born: Option<u64>,
    pub(super) established: Option<u64>,
    pub(super) owner: Option<Arc<Process>>,
    pub(super) role: Role,
    /// The owner was found by a snapshot, not by what it did.
    adopted: bool,
    /// The owner's descriptor.
    pub(super) fd: Option<i32>,
    /// Who holds it, as far as calls told.
    pub(super) holders: SmallVec<[Holder; 1]>,
    pub(super) attempt: Option<Attempt>,
    pub(super) reason: Option<Reason>,
    pub(super) bytes: Option<Bytes>,
    /// Of Unix sockets.
    pub(super) names: Option<Arc<Names>>,
}

impl Socket {
    /// A socket of which only `info` is known.
    pub(super) fn new(info: &SocketInfo) -> Self {
        Self {
            info: *info,
            state: TcpState::from_number(info.state).unwrap_or(TcpState::Close),
            state_since: None,
            born: None,
            established: None,
            owner: None,
            adopted: false,
            role: Role::Unknown,
            fd: None,
            holders: SmallVec::new(),
            attempt: None,
            reason: None,
            bytes: None,
            names: None,
        }
    }

    /// A socket that begins now.
    pub(super) fn born(info: &SocketInfo, now: u64) -> Self {
        Self {
            born: Some(now),
            state_since: Some(now),
            ..Self::new(info)
        }
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

    /// Where it was going, for a call that failed before the socket knew it.
    pub(super) fn set_remote(&mut self, info: &SocketInfo) {
        (self.info.raddr, self.info.rport) = (info.raddr, info.rport);
    }

    /// What it and its peer are called.
    pub(super) fn names_mut(&mut self) -> &mut Names {
        Arc::make_mut(self.names.get_or_insert_default())
    }

    /// Makes `process` the owner unless there is one.
    pub(super) fn own(&mut self, process: &Arc<Process>, fd: Option<i32>) {
        if self.owner.is_none() {
            self.owner = Some(Arc::clone(process));
            self.fd = fd;
        }
    }

    /// Who held it when it was found.
    pub(super) fn adopt(&mut self, process: &Arc<Process>, fd: i32) {
        self.own(process, Some(fd));
        self.adopted = true;
    }

    /// As people see it.
    pub(super) fn view(&self) -> View {
        View {
            names: self.names.clone(),
            owner: self.owner.clone(),
            ownership: match (&self.owner, self.adopted) {
                (Some(_), true) => Ownership::Adopted,
                (Some(_), false) => Ownership::Exact,
                (None, _) => Ownership::Unknown,
            },
            ..view(&self.info)
        }
    }
}

/// The view of a socket of which only `info` is known.
pub(super) fn view(info: &SocketInfo) -> View {
    let known = |number: u32| (number != 0).then_some(number);
    View {
        cookie: cookie(info.id),
        inode: known(info.inode),
        netns: known(info.netns),
        protocol: Some(Protocol::of(info.family, info.proto)),
        family: Some(Family::new(info.family)),
        local: Endpoint::new(info.family, info.laddr, info.lport),
        remote: Endpoint::new(info.family, info.raddr, info.rport),
        names: None,
        owner: None,
        ownership: Ownership::Unknown,
    }
}

/// The cookie in an identity, if it is one.
pub(super) fn cookie(id: u64) -> Option<u64> {
    (id != 0 && id < SYNTHETIC_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, PROTO_TCP, PROTO_UDP};
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn what_is_not_set_is_not_shown() {
        let nothing = view(&SocketInfo::new_zeroed());
        assert_eq!(nothing.cookie, None);
        assert_eq!(nothing.local, Endpoint::default());
        let mut info = SocketInfo::new_zeroed();
        info.family = FAMILY_IPV4;
        info.lport = 80;
        let any: IpAddr = [0, 0, 0, 0].into();
        assert_eq!(
            view(&info).local,
            Endpoint {
                address: Some(any),
                port: Some(80)
            }
        );
        assert_eq!(view(&info).remote, Endpoint::default());
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mut info = SocketInfo::new_zeroed();
        info.family = FAMILY_IPV6;
        info.laddr = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(view(&info).local.address, Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn a_made_up_identity_is_no_cookie() {
        assert_eq!(cookie(SYNTHETIC_ID | 7), None);
        assert_eq!(cookie(7), Some(7));
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
