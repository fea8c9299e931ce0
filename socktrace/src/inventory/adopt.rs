//! From a row to what the table takes over.

use std::net::IpAddr;

use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, PROTO_TCP, SocketInfo, TcpState};

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
    /// As the table takes it over: a full TCP socket. Others make no events.
    pub fn adopted(&self) -> Option<Adopted> {
        let found = &self.found;
        let state = match found.state {
            State::Tcp(state) => state,
            State::BoundInactive => TcpState::Close,
            State::Request => return None,
        };
        if found.protocol != Protocol::Tcp || found.is_minisock() || found.cookie == 0 {
            return None;
        }
        let (lport, rport) = (found.local.port, found.remote.port);
        let holders = self.holders.iter();
        Some(Adopted {
            socket: SocketInfo {
                id: found.cookie,
                laddr: octets(found.local),
                raddr: octets(found.remote),
                lport: lport.unwrap_or_default(),
                rport: rport.unwrap_or_default(),
                proto: PROTO_TCP,
                family: match found.family? {
                    Family::Ipv4 => FAMILY_IPV4,
                    Family::Ipv6 => FAMILY_IPV6,
                    Family::Unix | Family::Other => return None,
                },
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
