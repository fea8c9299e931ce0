//! One socket as a dump shows it.

use socktrace_common::socket::TcpState;

use super::Open;
use crate::endpoint::{Endpoint, Family, state_word};
pub use crate::endpoint::{Protocol, UnixName};

/// One socket. What a family does not have, or what was not asked for, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its cookie, the number that `ss -e` shows as `sk:`.
    pub cookie: u64,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Inode number in sockfs, as in `/proc/PID/fd`. 0 for a socket without a file: not accepted
    /// yet, or let go of.
    pub inode: u32,
    /// User who created it. Minisocks carry none; packet and netlink sockets do not say.
    pub uid: Option<u32>,
    /// Its protocol.
    pub protocol: Protocol,
    /// IPv4 or IPv6; an IPv4-mapped IPv6 socket counts as IPv4.
    pub family: Option<Family>,
    /// `SOCK_*`, where it does not follow from the protocol.
    pub socket_type: Option<u8>,
    /// Where it stands. Outside TCP only three states occur: established (connected), listen
    /// (Unix), close (all others).
    pub state: State,
    /// Local address and port.
    pub local: Endpoint,
    /// Remote address and port.
    pub remote: Endpoint,
    /// An IPv6 socket that takes no IPv4 traffic: `IPV6_V6ONLY`.
    pub only_ipv6: bool,
    /// The timer that runs.
    pub timer: Option<Timer>,
    /// Bytes that wait to be read; for a listener, connections that wait to be accepted.
    pub recv_queue: u32,
    /// Bytes that wait to be sent or acknowledged; for a listener, how many connections may wait.
    pub send_queue: u32,
    /// Which directions are shut down: `RCV_SHUTDOWN` (1), `SEND_SHUTDOWN` (2). `None` for
    /// minisocks.
    pub shutdown: Option<u8>,
    /// Identifier of its control group in the v2 hierarchy: that of its creator, or its listener's
    /// (5.8).
    pub cgroup: Option<u64>,
    /// What it keeps in memory, if asked.
    pub memory: Option<Memory>,
    /// TCP's own view, if asked.
    pub tcp: Option<Tcp>,
    /// What only sockets of its family have.
    pub detail: Detail,
}

/// Where a socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A state of the TCP state machine.
    Tcp(TcpState),
    /// A connection request that a listener keeps, half of a handshake: what dumps call
    /// `SYN_RECV` in all but a few cases. It is no full socket, and has a cookie of its own.
    Request,
    /// TCP, bound to a port, neither connected nor listening (6.8; before, no dump shows these).
    BoundInactive,
    /// A pipe.
    Pipe(Ends),
}

/// Which ends of a pipe processes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ends {
    /// Both.
    Both,
    /// Nobody reads: who writes gets `EPIPE`.
    NoReader,
    /// Nobody writes: who reads comes to the end.
    NoWriter,
    /// Only one was seen, and not every process could be looked at.
    Unknown,
}

/// A running timer of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What it will do.
    pub kind: TimerKind,
    /// When, from now: milliseconds.
    pub expires_ms: u32,
    /// How often it did so in a row; for keepalives and window probes, the probes without answer.
    pub retransmits: u8,
}

/// What a timer will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// Send again.
    Retransmit,
    /// Probe whether the peer is alive, or end an orphan in `FIN_WAIT2`.
    Keepalive,
    /// End a minisock: one in `TIME_WAIT`, or in `FIN_WAIT2` after its socket was let go of.
    TimeWait,
    /// Probe the peer's closed window.
    Probe,
}

/// Memory of a socket, bytes: `SK_MEMINFO_*` of `include/uapi/linux/sock_diag.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Received and not read.
    pub rmem: u32,
    /// How much that may be.
    pub rcvbuf: u32,
    /// Queued to be sent.
    pub wmem: u32,
    /// How much that may be.
    pub sndbuf: u32,
    /// Packets that were dropped for want of room; for a listener, connections.
    pub drops: u32,
}

/// The parts of `struct tcp_info` (include/uapi/linux/tcp.h) that say how a connection is doing.
/// Idle times count from the last event of their kind, or from the socket's birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Since data was last sent: milliseconds.
    pub last_data_sent_ms: u32,
    /// Since data was last received: milliseconds.
    pub last_data_recv_ms: u32,
    /// Since the peer last acknowledged something: milliseconds.
    pub last_ack_recv_ms: u32,
    /// Smoothed round trip time: microseconds.
    pub rtt_us: u32,
    /// The shortest one seen: microseconds; `u32::MAX` where there was none.
    pub min_rtt_us: u32,
    /// Segments that were sent and not acknowledged.
    pub unacked: u32,
    /// Retransmissions over the whole life.
    pub total_retransmits: u32,
    /// Payload that the peer acknowledged: bytes.
    pub bytes_acked: u64,
    /// Payload received in order: bytes.
    pub bytes_received: u64,
}

/// What only sockets of one family have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing: TCP, UDP, MPTCP.
    None,
    /// A Unix socket.
    Unix(Unix),
    /// A raw socket's protocol: `IPPROTO_*`.
    Raw(u16),
    /// A packet socket.
    Packet {
        /// `ETH_P_*`; 0 while it takes nothing.
        protocol: u16,
        /// Index of its network interface; 0 for all.
        interface: u32,
    },
    /// A netlink socket.
    Netlink {
        /// `NETLINK_*`.
        protocol: u8,
        /// Its address ("port id"); 0 if it is not bound.
        port: u32,
        /// Its peer's.
        peer: u32,
    },
}

/// What only a Unix socket has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unix {
    /// The name that it is bound to.
    pub name: Option<UnixName>,
    /// Inode number of its peer; 0 for a peer without a file: one that was not accepted yet, or
    /// with both directions of this one shut down one that is gone. `None` if it has none.
    pub peer: Option<u32>,
    /// For a listener: how many connections wait to be accepted (`UNIX_DIAG_ICONS`).
    pub waiting: u32,
}

impl State {
    /// The word for it: `node_exporter`'s for those that it knows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp(state) => state_word(state),
            Self::Request => "syn_recv",
            Self::BoundInactive => "bound_inactive",
            Self::Pipe(ends) => ends.word(),
        }
    }
}

impl Ends {
    /// Those that can be told in words.
    pub const KNOWN: [Self; 3] = [Self::Both, Self::NoReader, Self::NoWriter];

    /// `complete`: every process was looked at, so that an end that nobody showed is held by
    /// nobody.
    pub fn of(read: bool, written: bool, complete: bool) -> Self {
        match (read, written) {
            (true, true) => Self::Both,
            (false, true) if complete => Self::NoReader,
            (true, false) if complete => Self::NoWriter,
            _ => Self::Unknown,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Both => "open",
            Self::NoReader => "no_reader",
            Self::NoWriter => "no_writer",
            Self::Unknown => "unknown",
        }
    }
}

impl Found {
    /// A pipe: it belongs to no namespace, and has no cookie.
    pub fn pipe(inode: u32, ends: Ends) -> Self {
        Self {
            state: State::Pipe(ends),
            ..Self::new(Protocol::Pipe, 0, 0, inode)
        }
    }

    /// A socket of which nothing else is known.
    pub(super) fn new(protocol: Protocol, netns: u32, cookie: u64, inode: u32) -> Self {
        Self {
            cookie,
            netns,
            inode,
            uid: None,
            protocol,
            family: None,
            socket_type: None,
            state: State::Tcp(TcpState::Close),
            local: Endpoint::default(),
            remote: Endpoint::default(),
            only_ipv6: false,
            timer: None,
            recv_queue: 0,
            send_queue: 0,
            shutdown: None,
            cgroup: None,
            memory: None,
            tcp: None,
            detail: Detail::None,
        }
    }

    /// A socket over IPv4 or IPv6 that a process holds and no dump shows.
    pub fn unlisted(open: &Open, inode: u32) -> Option<Self> {
        let protocol = match open.proto {
            _ if open.is_raw() => Protocol::Raw,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            136 => Protocol::UdpLite,
            262 => Protocol::Mptcp,
            _ => return None,
        };
        let family = match open.family {
            2 => Some(Family::Ipv4),
            10 => Some(Family::Ipv6),
            _ => return None,
        };
        Some(Self {
            family,
            shutdown: Some(open.shutdown),
            local: Endpoint {
                address: None,
                port: open.lport.filter(|_| protocol.has_ports()),
            },
            ..Self::new(protocol, open.netns, open.cookie.unwrap_or_default(), inode)
        })
    }

    /// Is it a minisock: a few bytes that stand for a connection after its socket is gone?
    pub fn is_minisock(&self) -> bool {
        self.timer
            .is_some_and(|timer| timer.kind == TimerKind::TimeWait)
    }

    /// Is it one of the netlink sockets with which the kernel itself listens?
    pub fn is_kernels(&self) -> bool {
        matches!(self.detail, Detail::Netlink { port: 0, .. })
    }

    /// For how many of the namespace's sockets (`sockets: used` in `/proc/net/sockstat`) the row
    /// stands. Minisocks and connection requests are no full sockets, and the kernel leaves out
    /// its own. A Unix listener stands also for the connections that wait for it, which have no
    /// row while they wait.
    pub fn counted(&self) -> u64 {
        if self.state == State::Request || self.is_minisock() || self.is_kernels() {
            return 0;
        }
        match &self.detail {
            Detail::Unix(unix) => 1 + u64::from(unix.waiting),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Found>() <= 256, "{}", size_of::<Found>());
    }
}
