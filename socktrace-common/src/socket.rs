//! What identifies a socket, and where it stands.

use crate::wire;

/// Identities at or above this were made up by the kernel side: the kernel had given the socket no
/// cookie yet and the program was not allowed to make it do so. They are unique within a run.
pub const SYNTHETIC_ID: u64 = 1 << 63;

/// `AF_INET`.
pub const FAMILY_IPV4: u8 = 2;
/// `AF_INET6`.
pub const FAMILY_IPV6: u8 = 10;

/// `IPPROTO_TCP`.
pub const PROTO_TCP: u16 = 6;
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
        /// `IPPROTO_*`.
        pub proto: u16,
        /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`]; an IPv4-mapped IPv6 socket counts as IPv4.
        pub family: u8,
        /// TCP state, a [`TcpState`] number.
        pub state: u8,
        /// Inode number of the network namespace, `/proc/PID/ns/net`.
        pub netns: u32,
        /// Inode number in sockfs, as in `/proc/PID/fd`.
        pub inode: u32,
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
