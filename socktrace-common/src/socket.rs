//! What identifies a socket, and where it stands.

use crate::wire;

/// Identities at or above this were made up by the kernel side: the kernel had given the socket no
/// cookie yet and the program was not allowed to make it do so. They are unique within a run.
pub const SYNTHETIC_ID: u64 = 1 << 63;
/// Identities at or above this are an inode number of sockfs and nothing else: of sockets other
/// than TCP, until somebody makes the kernel give them a cookie, and of MPTCP always. Unique among
/// open sockets.
pub const INODE_ID: u64 = SYNTHETIC_ID | 1 << 62;

/// `AF_UNIX`.
pub const FAMILY_UNIX: u8 = 1;
/// `AF_INET`.
pub const FAMILY_IPV4: u8 = 2;
/// `AF_INET6`.
pub const FAMILY_IPV6: u8 = 10;

/// `AF_NETLINK`.
pub const FAMILY_NETLINK: u8 = 16;
/// `AF_PACKET`.
pub const FAMILY_PACKET: u8 = 17;

/// `IPPROTO_TCP`.
pub const PROTO_TCP: u16 = 6;
/// `IPPROTO_UDP`.
pub const PROTO_UDP: u16 = 17;
/// `IPPROTO_UDPLITE`.
pub const PROTO_UDPLITE: u16 = 136;
/// `IPPROTO_RAW`: in a [`SocketInfo`], of every raw socket, whatever it takes.
pub const PROTO_RAW: u16 = 255;
/// `IPPROTO_MPTCP`.
pub const PROTO_MPTCP: u16 = 262;

wire! {
    /// A socket as the kernel saw it when the event happened.
    ///
    /// Zero means "not known here" for the inode, the network namespace and, as in the kernel,
    /// for a port that is not bound and an address that is not set.
    pub struct SocketInfo {
        /// The socket's cookie (`ss -e` `sk:`, `SO_COOKIE`), or a synthetic identity
        /// ([`SYNTHETIC_ID`]), or 0 where neither was to be had.
        pub id: u64,
        /// Local address; IPv4 in the first 4 bytes. Network byte order.
        pub laddr: [u8; 16],
        /// Remote address; IPv4 in the first 4 bytes. Network byte order.
        pub raddr: [u8; 16],
        /// Local port, host byte order.
        pub lport: u16,
        /// Remote port, host byte order.
        pub rport: u16,
        /// `IPPROTO_*`, [`PROTO_RAW`] for every raw socket; outside IP what the family makes of it.
        pub proto: u16,
        /// `AF_*`; an IPv4-mapped IPv6 socket counts as IPv4.
        pub family: u8,
        /// A [`TcpState`] number. Outside TCP the kernel uses three of them: established
        /// (connected), listen (Unix), close (all others).
        pub state: u8,
        /// Inode number of the network namespace, `/proc/PID/ns/net`.
        pub netns: u32,
        /// Inode number in sockfs, as in `/proc/PID/fd`.
        pub inode: u32,
    }
}

/// What kind of socket it is, as far as filters and rows tell them apart; or that it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp = 0,
    Udp = 1,
    UdpLite = 2,
    Mptcp = 3,
    /// Over IPv4 or IPv6, whatever protocol it takes.
    Raw = 4,
    Unix = 5,
    Packet = 6,
    Netlink = 7,
    /// Every other.
    Other = 8,
    /// An anonymous pipe: no socket, and yet two ends that somebody holds, or does not.
    Pipe = 9,
}

impl Protocol {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Tcp,
        Self::Udp,
        Self::UdpLite,
        Self::Mptcp,
        Self::Raw,
        Self::Unix,
        Self::Packet,
        Self::Netlink,
        Self::Other,
        Self::Pipe,
    ];

    /// Its bit in [`Config::protocols`](crate::config::Config::protocols).
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// From `AF_*` and `IPPROTO_*`, the latter as in [`SocketInfo::proto`].
    #[must_use]
    pub fn of(family: u8, proto: u16) -> Self {
        if family == FAMILY_IPV4 || family == FAMILY_IPV6 {
            match proto {
                PROTO_TCP => Self::Tcp,
                PROTO_UDP => Self::Udp,
                PROTO_UDPLITE => Self::UdpLite,
                PROTO_MPTCP => Self::Mptcp,
                PROTO_RAW => Self::Raw,
                _ => Self::Other,
            }
        } else {
            match family {
                FAMILY_UNIX => Self::Unix,
                FAMILY_NETLINK => Self::Netlink,
                FAMILY_PACKET => Self::Packet,
                _ => Self::Other,
            }
        }
    }

    /// Has it ports? What others keep in their place is something else.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::UdpLite | Self::Mptcp)
    }
}

/// TCP states with the kernel's numbers (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "RFC 9293 names them")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The state with this kernel number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }
}
