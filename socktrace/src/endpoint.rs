//! Where a socket points and how it stands, whoever says so: an event or a snapshot.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub use socktrace_common::socket::Protocol;
use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, FAMILY_UNIX, TcpState};

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
    Unix,
    Other,
}

/// A Unix socket's name: bytes that a process chose, not fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixName {
    /// A path, as it was given to `bind()`: it may be relative, and the file may be gone.
    Path(Box<[u8]>),
    /// A name in the abstract namespace, without the NUL at its beginning.
    Abstract(Box<[u8]>),
}

impl UnixName {
    /// From what a `sockaddr_un` holds in `sun_path`. A path ends with a NUL, or is as long as a
    /// path may be; a name in the abstract namespace begins with one. `None` if it has no name.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => None,
            [0, name @ ..] => Some(Self::Abstract(name.into())),
            path => {
                let path = path.split(|&byte| byte == 0).next()?;
                Some(Self::Path(path.into()))
            }
        }
    }

    /// As `sun_path` holds it: the opposite of [`Self::new`].
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Path(path) => path.to_vec(),
            Self::Abstract(name) => [&[0], &name[..]].concat(),
        }
    }

    /// As `ss` spells it: `@` begins an abstract name. Escape it.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Path(path) => String::from_utf8_lossy(path),
            Self::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)).into(),
        }
    }
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

/// What a Unix socket and its peer are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Its own name.
    pub local: Option<UnixName>,
    /// The name to which it was connected.
    pub remote: Option<UnixName>,
}

impl Family {
    /// From `AF_*`.
    pub fn new(number: u8) -> Self {
        match number {
            FAMILY_IPV4 => Self::Ipv4,
            FAMILY_IPV6 => Self::Ipv6,
            FAMILY_UNIX => Self::Unix,
            _ => Self::Other,
        }
    }

    /// The word for it in output and filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Unix => "unix",
            Self::Other => "other",
        }
    }
}

/// The word for a protocol in output and filters.
pub fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::UdpLite => "udplite",
        Protocol::Mptcp => "mptcp",
        Protocol::Raw => "raw",
        Protocol::Unix => "unix",
        Protocol::Packet => "packet",
        Protocol::Netlink => "netlink",
        Protocol::Other => "other",
        Protocol::Pipe => "pipe",
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
