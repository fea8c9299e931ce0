//! From a row to what the table takes over.

use std::net::IpAddr;

use socktrace_common::socket::{
    FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETLINK, FAMILY_PACKET, FAMILY_UNIX, INODE_ID, PROTO_MPTCP,
    PROTO_RAW, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, SocketInfo, TcpState,
};

use super::{
    Row,
    row::{Age, NS_A_MS},
};
use crate::{
    change::Role,
    endpoint::{Endpoint, Family},
    source::{
        Adopted,
        snapshot::{Detail, Found, Protocol, State, Timer},
    },
};

impl Row {
    /// As the table takes it over: a socket, or what is left of one. `now` is when it was seen,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub fn adopted(&self, now: u64) -> Option<Adopted> {
        let found = &self.found;
        let state = match found.state {
            State::Tcp(state) => state,
            State::BoundInactive => TcpState::Close,
            State::Request | State::Pipe(_) => return None,
        };
        let (family, proto) = numbers(found.protocol, found.family)?;
        let port = |port: Option<u16>| port.filter(|_| found.protocol.has_ports());
        let (lport, rport) = (port(found.local.port), port(found.remote.port));
        let holders = self.holders.iter();
        let before = |age: Option<Age>| now.saturating_sub(age.map_or(0, Age::ns));
        let until = |timer: Timer| now + u64::from(timer.expires_ms) * NS_A_MS;
        Some(Adopted {
            socket: SocketInfo {
                id: identity(found)?,
                laddr: octets(found.local),
                raddr: octets(found.remote),
                lport: lport.unwrap_or_default(),
                rport: rport.unwrap_or_default(),
                proto,
                family,
                state: state as u8,
                netns: found.netns,
                inode: found.inode,
            },
            holders: holders
                .filter_map(|it| Some((it.process.pid, i32::try_from(it.fd).ok()?)))
                .collect(),
            served: self.role == Role::Server,
            born_ns: before(self.age()),
            state_since_ns: before(self.in_state()),
            until_ns: found.timer.filter(|_| found.is_minisock()).map(until),
            name: match &found.detail {
                Detail::Unix(unix) => unix.name.clone(),
                _ => None,
            },
        })
    }
}

impl Row {
    /// What the table knows it by; `None` for what it does not follow.
    pub fn identity(&self) -> Option<u64> {
        identity(&self.found)
    }
}

/// As the kernel side makes it: of an MPTCP socket, which may have the cookie of its listener, and
/// of any but TCP that has none, the inode number.
fn identity(found: &Found) -> Option<u64> {
    match (found.protocol, found.cookie) {
        (Protocol::Tcp, 0) => None,
        (Protocol::Mptcp, _) | (_, 0) => {
            (found.inode != 0).then(|| INODE_ID | u64::from(found.inode))
        }
        (_, cookie) => Some(cookie),
    }
}

/// `AF_*` and `IPPROTO_*`, as the kernel side writes them.
fn numbers(protocol: Protocol, family: Option<Family>) -> Option<(u8, u16)> {
    let proto = match protocol {
        Protocol::Unix => return Some((FAMILY_UNIX, 0)),
        Protocol::Packet => return Some((FAMILY_PACKET, 0)),
        Protocol::Netlink => return Some((FAMILY_NETLINK, 0)),
        Protocol::Other | Protocol::Pipe => return None,
        Protocol::Tcp => PROTO_TCP,
        Protocol::Udp => PROTO_UDP,
        Protocol::UdpLite => PROTO_UDPLITE,
        Protocol::Mptcp => PROTO_MPTCP,
        Protocol::Raw => PROTO_RAW,
    };
    match family? {
        Family::Ipv4 => Some((FAMILY_IPV4, proto)),
        Family::Ipv6 => Some((FAMILY_IPV6, proto)),
        Family::Unix | Family::Other => None,
    }
}

/// Network byte order, IPv4 in the first four.
fn octets(endpoint: Endpoint) -> [u8; 16] {
    let mut octets = [0; 16];
    match endpoint.address {
        Some(IpAddr::V4(address)) => octets[..4].copy_from_slice(&address.octets()),
        Some(IpAddr::V6(address)) => octets = address.octets(),
        None => {}
    }
    octets
}
