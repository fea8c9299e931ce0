//! From a row to what the table takes over.

use std::net::IpAddr;

use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, PROTO_TCP, SocketInfo, TcpState};

use super::{
    Row,
    row::{Age, NS_A_MS},
};
use crate::{
    change::Role,
    endpoint::{Endpoint, Family},
    source::{
        Adopted,
        snapshot::{Protocol, State, Timer},
    },
};

impl Row {
    /// As the table takes it over: a TCP socket, or what is left of one. `now` is when it was seen,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub fn adopted(&self, now: u64) -> Option<Adopted> {
        let found = &self.found;
        let state = match found.state {
            State::Tcp(state) => state,
            State::BoundInactive => TcpState::Close,
            State::Request | State::Pipe(_) => return None,
        };
        if found.protocol != Protocol::Tcp || found.cookie == 0 {
            return None;
        }
        let (lport, rport) = (found.local.port, found.remote.port);
        let holders = self.holders.iter();
        let before = |age: Option<Age>| now.saturating_sub(age.map_or(0, Age::ns));
        let until = |timer: Timer| now + u64::from(timer.expires_ms) * NS_A_MS;
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
                },
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
