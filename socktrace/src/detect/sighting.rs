//! One row of a snapshot, as much as detectors take of it.

use smallvec::SmallVec;
use socktrace_common::socket::TcpState;

use super::What;
use crate::{
    change::Role,
    endpoint::Endpoint,
    inventory::{Age, Row},
    source::snapshot::{Detail, Ends, Found, Protocol, State},
};

/// A socket or pipe that a snapshot found. Times are of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// What the table knows it by; 0 if it does not.
    pub id: u64,
    /// Its inode; 0 without a file.
    pub inode: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its protocol.
    pub proto: Protocol,
    /// Its part in the connection, as far as listeners tell.
    pub role: Role,
    /// Local address and port.
    pub local: Endpoint,
    /// Remote address and port.
    pub remote: Endpoint,
    /// What it is.
    pub seen_as: SeenAs,
    /// It was there at this time, and maybe before.
    pub born_ns: u64,
    /// It has been in its state since this time, and maybe longer.
    pub since_ns: u64,
    /// Nothing was sent or received since this time, where that is known.
    pub idle_since_ns: Option<u64>,
    /// Something was sent last at this time, where that is known.
    pub sent_ns: Option<u64>,
    /// See [`Found::recv_queue`].
    pub recv_queue: u32,
    /// See [`Found::send_queue`].
    pub send_queue: u32,
    /// Packets or connections that were dropped for want of room, where that is known.
    pub drops: Option<u32>,
    /// Every process that holds it, in the order of their numbers.
    pub holders: SmallVec<[u32; 2]>,
    /// For a descriptor in a message: the process that is taken to have it in its queue.
    pub receiver: Option<u32>,
}

/// What a row is to detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenAs {
    /// A socket that may leak.
    Socket(What),
    /// A listener.
    Listener,
    /// A descriptor in a message.
    InFlight,
    /// A pipe of which one end is gone.
    OneEnded,
}

impl Sighting {
    /// From a row that was read at `now`; `None` for what no detector asks about.
    pub fn of(row: &Row, now: u64) -> Option<Self> {
        let found = &row.found;
        let seen_as = seen_as(row)?;
        let before = |ms: u32| now.saturating_sub(u64::from(ms) * 1_000_000);
        let since = |age: Age| now.saturating_sub(age.ns());
        let tcp = found.tcp.filter(|_| seen_as != SeenAs::Listener);
        let mut holders: SmallVec<[u32; 2]> = row.holders.iter().map(|it| it.process.pid).collect();
        holders.dedup();
        Some(Self {
            id: row.identity().unwrap_or_default(),
            inode: found.inode,
            netns: found.netns,
            proto: found.protocol,
            role: row.role,
            local: found.local,
            remote: found.remote,
            seen_as,
            born_ns: row.age().map_or(now, since),
            since_ns: row.in_state().map_or(now, since),
            idle_since_ns: tcp.map(|tcp| before(tcp.last_data_sent_ms.min(tcp.last_data_recv_ms))),
            sent_ns: tcp.map(|tcp| before(tcp.last_data_sent_ms)),
            recv_queue: found.recv_queue,
            send_queue: found.send_queue,
            drops: found.memory.map(|memory| memory.drops),
            holders,
            receiver: row.receiver,
        })
    }
}

fn seen_as(row: &Row) -> Option<SeenAs> {
    let found = &row.found;
    if row.class == Some("in flight") {
        return Some(SeenAs::InFlight);
    }
    if found.state == State::Tcp(TcpState::Listen) {
        return Some(SeenAs::Listener);
    }
    match found.protocol {
        Protocol::Tcp | Protocol::Mptcp => tcp(row).map(SeenAs::Socket),
        Protocol::Udp | Protocol::UdpLite => Some(SeenAs::Socket(What::Datagram)),
        Protocol::Unix => Some(SeenAs::Socket(unix(found))),
        Protocol::Pipe => matches!(found.state, State::Pipe(Ends::NoReader | Ends::NoWriter))
            .then_some(SeenAs::OneEnded),
        Protocol::Raw | Protocol::Packet | Protocol::Netlink | Protocol::Other => None,
    }
}

fn tcp(row: &Row) -> Option<What> {
    let state = match row.found.state {
        State::Tcp(state) => state,
        // Bound, and not used yet.
        State::BoundInactive => return Some(What::Idle),
        State::Request | State::Pipe(_) => return None,
    };
    match row.class {
        None => Some(What::Held(state)),
        Some("unaccepted") => Some(What::Unaccepted),
        Some("orphan") => Some(What::Orphan(state)),
        Some("idle") => Some(What::Idle),
        Some("dead") => Some(What::Dead),
        // A minisock is nobody's; what has no descriptor has no holder to be told of.
        Some(_) => None,
    }
}

/// Both directions are shut down, and the peer is no more: it has closed.
fn unix(found: &Found) -> What {
    let Detail::Unix(unix) = &found.detail else {
        return What::Unix;
    };
    let stream = matches!(found.socket_type, Some(1 | 5));
    let connected = found.state == State::Tcp(TcpState::Established);
    let alone = found.shutdown == Some(3) && unix.peer.is_none_or(|peer| peer == 0);
    if stream && connected && alone {
        What::HalfDead
    } else {
        What::Unix
    }
}
