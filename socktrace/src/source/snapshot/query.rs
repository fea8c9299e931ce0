//! What to ask a dump for.

use socktrace_common::socket::TcpState;

use super::Protocol;

/// Which sockets to dump, and what to say of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which protocol.
    pub protocol: Protocols,
    /// Which states. Protocols without states ignore it.
    pub states: States,
    /// What to add to each row. Protocols that have no such thing ignore it.
    pub extras: Extras,
}

/// What one dump can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocols {
    /// TCP over IPv4 and IPv6 in one pass over the kernel's table.
    Tcp,
    /// TCP over IPv4 alone; v4-mapped IPv6 sockets are not among them.
    Tcp4,
    /// TCP over IPv6 alone, v4-mapped included.
    Tcp6,
    /// UDP over IPv4 and IPv6.
    Udp,
    /// UDP-Lite over IPv4 and IPv6.
    UdpLite,
    /// MPTCP connections (5.9). Their subflows are rows of TCP too, with the same inode.
    Mptcp,
    /// Raw sockets over IPv4 and IPv6.
    Raw,
    /// Unix sockets.
    Unix,
    /// Packet sockets.
    Packet,
    /// Netlink sockets.
    Netlink,
}

impl Protocols {
    /// Everything, TCP first.
    pub const ALL: [Self; 8] = [
        Self::Tcp,
        Self::Udp,
        Self::UdpLite,
        Self::Mptcp,
        Self::Raw,
        Self::Unix,
        Self::Packet,
        Self::Netlink,
    ];

    /// What its rows are.
    pub const fn rows(self) -> Protocol {
        match self {
            Self::Tcp | Self::Tcp4 | Self::Tcp6 => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::UdpLite => Protocol::UdpLite,
            Self::Mptcp => Protocol::Mptcp,
            Self::Raw => Protocol::Raw,
            Self::Unix => Protocol::Unix,
            Self::Packet => Protocol::Packet,
            Self::Netlink => Protocol::Netlink,
        }
    }

    /// Is it TCP?
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp4 | Self::Tcp6)
    }

    /// Is it IPv4 and IPv6?
    pub const fn is_inet(self) -> bool {
        !matches!(self, Self::Unix | Self::Packet | Self::Netlink)
    }
}

/// A set of TCP states: bit `1 << state`, as the kernel wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// `TCP_BOUND_INACTIVE` (`include/net/tcp_states.h`, 6.8): bound, neither connected nor
    /// listening. Older kernels ignore the bit.
    pub const BOUND_INACTIVE: Self = Self(1 << 13);
    /// Every state.
    pub const ALL: Self = Self(0xfff | Self::BOUND_INACTIVE.0);

    /// No state.
    pub const fn none() -> Self {
        Self(0)
    }

    /// This set and a state. Connection requests belong to [`TcpState::SynRecv`], minisocks to
    /// [`TcpState::TimeWait`].
    #[must_use]
    pub const fn with(self, state: TcpState) -> Self {
        Self(self.0 | 1 << state as u8)
    }

    /// This set without a state.
    #[must_use]
    pub const fn without(self, state: TcpState) -> Self {
        Self(self.0 & !(1 << state as u8))
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// For the kernel.
    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

/// What a dump adds to each row when it is asked to; each costs time and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// [`Found::tcp`](super::Found::tcp): 280 bytes a socket on the way.
    pub tcp: bool,
    /// [`Found::memory`](super::Found::memory): 40 bytes a socket on the way.
    pub memory: bool,
}

impl Query {
    /// Every socket of a protocol, without extras.
    pub const fn all(protocol: Protocols) -> Self {
        Self {
            protocol,
            states: States::ALL,
            extras: Extras {
                tcp: false,
                memory: false,
            },
        }
    }

    /// TCP sockets in these states, without extras.
    pub const fn tcp(states: States) -> Self {
        Self {
            states,
            ..Self::all(Protocols::Tcp)
        }
    }

    /// The same with extras.
    #[must_use]
    pub const fn with(self, extras: Extras) -> Self {
        Self { extras, ..self }
    }
}
