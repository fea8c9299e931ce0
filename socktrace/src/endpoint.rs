//! Where a socket points and how it stands, whoever says so: an event or a snapshot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, TcpState};

/// An address and a port; each is known or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Unspecified (`0.0.0.0`) is an address too: that of a socket bound to all of them.
    pub address: Option<IpAddr>,
    /// Never 0.
    pub port: Option<u16>,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Endpoint {
    /// From what the kernel writes: `AF_INET` or `AF_INET6`, the address in network byte order
    /// (IPv4 in the first 4 bytes), the port in host byte order, 0 if there is none.
    ///
    /// An IPv4-mapped address is an IPv4 address. One of all zeroes is one only beside a port:
    /// before that it is just not set.
    pub fn new(family: u8, address: [u8; 16], port: u16) -> Self {
        let ip = match family {
            FAMILY_IPV4 => {
                let [a, b, c, d, ..] = address;
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            FAMILY_IPV6 => Some(Ipv6Addr::from(address).to_canonical()),
            _ => None,
        };
        Self {
            address: ip.filter(|ip| port != 0 || !ip.is_unspecified()),
            port: (port != 0).then_some(port),
        }
    }
}

impl Family {
    /// The word for it in output and filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// `node_exporter`'s spelling of a TCP state.
pub fn state_word(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn_sent",
        TcpState::SynRecv => "syn_recv",
        TcpState::FinWait1 => "fin_wait1",
        TcpState::FinWait2 => "fin_wait2",
        TcpState::TimeWait => "time_wait",
        TcpState::Close => "close",
        TcpState::CloseWait => "close_wait",
        TcpState::LastAck => "last_ack",
        TcpState::Listen => "listen",
        TcpState::Closing => "closing",
    }
}
