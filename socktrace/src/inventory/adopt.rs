//! From a row to what the table takes over.

use std::net::IpAddr;

use socktrace_common::socket::{
    FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETLINK, FAMILY_PACKET, FAMILY_UNIX, INODE_ID, PROTO_MPTCP,
    PROTO_RAW, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, SocketInfo, TcpState,
};

use super::Row;
use crate::{
    change::Role,
    endpoint::{Endpoint, Family},
    source::{
        Adopted,
        snapshot::{Protocol, State},
    },
};

impl Row {
    /// As the table takes it over: a full socket.
    pub fn adopted(&self) -> Option<Adopted> {
        let found = &self.found;
        let state = match found.state {
            State::Tcp(state) => state,
            State::BoundInactive => TcpState::Close,
            State::Request => return None,
        };
        if found.is_minisock() || found.cookie == 0 {
            return None;
        }
        let (family, proto) = numbers(found.protocol, found.family)?;
        let port = |port: Option<u16>| port.filter(|_| found.protocol.has_ports());
        let (lport, rport) = (port(found.local.port), port(found.remote.port));
        let holders = self.holders.iter();
        Some(Adopted {
            socket: SocketInfo {
                // An MPTCP socket may have the cookie of its listener.
                id: match (found.protocol, found.inode) {
                    (Protocol::Mptcp, 0) => return None,
                    (Protocol::Mptcp, inode) => INODE_ID | u64::from(inode),
                    _ => found.cookie,
                },
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
        })
    }
}

/// `AF_*` and `IPPROTO_*`, as the kernel side writes them.
fn numbers(protocol: Protocol, family: Option<Family>) -> Option<(u8, u16)> {
    let proto = match protocol {
        Protocol::Unix => return Some((FAMILY_UNIX, 0)),
        Protocol::Packet => return Some((FAMILY_PACKET, 0)),
        Protocol::Netlink => return Some((FAMILY_NETLINK, 0)),
        Protocol::Other => return None,
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
