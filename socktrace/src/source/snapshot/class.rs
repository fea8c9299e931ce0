//! Set algebra: what it means that a socket is in one list and not in another.
//!
//! There are three: what dumps show ([`Found`]), what processes hold ([`Holder`]), and the
//! kernel's count of sockets. No two of them are taken at the same moment, so a single finding
//! proves nothing: what is still true a few seconds later does.

use hashbrown::HashSet;
use socktrace_common::socket::TcpState;

use super::{Found, Held, Holder, Open, State};

/// What is the matter with a socket that a dump shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A process has a descriptor for it.
    Held,
    /// It waits in the accept queue of a listener: nobody's yet.
    Unaccepted,
    /// Every holder let go, and the kernel still sends what it owes the peer.
    Orphan,
    /// Only the port is still taken: `TIME_WAIT`, or `FIN_WAIT2` after its socket is gone.
    Minisock,
    /// A handshake that is not over; its listener keeps it.
    Request,
    /// It is on its way in a message (`SCM_RIGHTS`); only [`Elsewhere`](super::Elsewhere) says so.
    InFlight,
    /// It is a direct descriptor of `io_uring`; only [`Elsewhere`](super::Elsewhere) says so.
    DirectDescriptor,
    /// It is in no process's table, and where it is instead is not known: in a queue or a ring
    /// that does not tell enough, in use by a call although it was closed, or with the kernel,
    /// whose own sockets have inodes too (tunnels, network file systems). Also what was opened, or
    /// closed, while the lists were taken.
    NoDescriptor,
    /// The kernel's own netlink socket.
    Kernel,
}

/// What is the matter with a socket that a process holds and no dump shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// TCP that was never bound, connected or listening, or whose blocking `connect()` failed.
    Idle,
    /// TCP whose connection is over and which is still open: reset, refused, or closed by both
    /// sides.
    Dead,
    /// TCP that was connected or listening when descriptors were listed, and closed or over when
    /// sockets were.
    Passing,
    /// UDP that was never bound.
    Unbound,
    /// A raw socket: most kernels have no dump of them (`raw_diag`).
    Raw,
    /// Of a family that no dump shows, or of which none was taken.
    Other,
    /// `/proc` does not say what it is.
    Unknown,
}

/// The inode numbers that processes hold.
#[derive(Clone, Debug, Default)]
pub struct Inodes(HashSet<u32>);

impl Class {
    /// The class of a row. `held` are the inodes of all holders.
    pub fn of(found: &Found, held: &Inodes) -> Self {
        if found.is_minisock() {
            return Self::Minisock;
        }
        if found.state == State::Request {
            return Self::Request;
        }
        if found.inode != 0 {
            return match held.contains(found.inode) {
                true => Self::Held,
                false if found.is_kernels() => Self::Kernel,
                false => Self::NoDescriptor,
            };
        }
        match found.state {
            // Only who had a file could begin to close.
            State::Tcp(
                TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck,
            ) => Self::Orphan,
            _ => Self::Unaccepted,
        }
    }

    /// The word for it in reports, `None` for [`Class::Held`].
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Held => None,
            Self::Unaccepted => Some("unaccepted"),
            Self::Orphan => Some("orphan"),
            Self::Minisock => Some("minisock"),
            Self::Request => Some("request"),
            Self::InFlight => Some("in flight"),
            Self::DirectDescriptor => Some("direct descriptor"),
            Self::NoDescriptor => Some("no descriptor"),
            Self::Kernel => Some("kernel"),
        }
    }
}

impl Unlisted {
    /// What a held socket is that no dump shows.
    pub fn of(open: Option<&Open>) -> Self {
        let Some(open) = open else {
            return Self::Unknown;
        };
        let inet = open.family == AF_INET || open.family == AF_INET6;
        match open.proto {
            _ if open.is_raw() => Self::Raw,
            IPPROTO_TCP | IPPROTO_MPTCP if inet => match (open.state, open.shutdown) {
                (CLOSE, 0) => Self::Idle,
                (CLOSE, _) => Self::Dead,
                _ => Self::Passing,
            },
            IPPROTO_UDP | IPPROTO_UDPLITE if inet && open.lport.is_none() => Self::Unbound,
            _ => Self::Other,
        }
    }
}

const CLOSE: u8 = TcpState::Close as u8;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_UDPLITE: u16 = 136;
const IPPROTO_MPTCP: u16 = 262;

impl Inodes {
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is it among them?
    pub fn contains(&self, inode: u32) -> bool {
        self.0.contains(&inode)
    }

    /// Adds one; 0 is none.
    pub fn insert(&mut self, inode: u32) {
        if inode != 0 {
            self.0.insert(inode);
        }
    }
}

impl FromIterator<u32> for Inodes {
    fn from_iter<T: IntoIterator<Item = u32>>(inodes: T) -> Self {
        Self(inodes.into_iter().filter(|&inode| inode != 0).collect())
    }
}

/// Descriptors of sockets that are in no dump: dead but open, never bound, or of a family without
/// dumps. `listed` are the inodes of all rows of all namespaces.
pub fn unlisted<'a>(
    holders: impl IntoIterator<Item = &'a Holder>,
    listed: &Inodes,
) -> impl Iterator<Item = (&'a Holder, Unlisted)> {
    holders
        .into_iter()
        .filter_map(move |holder| match &holder.held {
            Held::Socket(open) if !listed.contains(holder.inode) => {
                Some((holder, Unlisted::of(open.as_ref())))
            }
            _ => None,
        })
}

/// How many sockets of a namespace no dump shows: `used` is the kernel's count of all, `counted`
/// the sum of what its rows [stand for](Found::counted), each socket once. Never below 0: what
/// appeared between the two is no ghost.
pub fn ghosts(used: u64, counted: u64) -> u64 {
    used.saturating_sub(counted)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Detail, Protocol, Timer, TimerKind, Unix},
        *,
    };

    fn tcp(state: TcpState, inode: u32) -> Found {
        Found {
            state: State::Tcp(state),
            ..Found::new(Protocol::Tcp, 1, 7, inode)
        }
    }

    fn minisock(state: TcpState) -> Found {
        Found {
            timer: Some(Timer {
                kind: TimerKind::TimeWait,
                expires_ms: 60_000,
                retransmits: 0,
            }),
            ..tcp(state, 0)
        }
    }

    fn open(proto: u16, shutdown: u8, lport: Option<u16>) -> Open {
        Open {
            cookie: Some(1),
            netns: 1,
            proto,
            family: AF_INET,
            socket_type: 1,
            state: 7,
            shutdown,
            lport,
        }
    }

    #[test]
    fn a_row_with_a_file_is_held_or_nobodys() {
        let held = Inodes::from_iter([5]);
        let class = |inode| Class::of(&tcp(TcpState::Established, inode), &held);
        assert_eq!(class(5), Class::Held);
        assert_eq!(class(6), Class::NoDescriptor);
    }

    #[test]
    fn a_row_without_a_file_is_explained_by_its_state() {
        let held = Inodes::from_iter([0, 5]);
        for (state, class) in [
            (TcpState::Established, Class::Unaccepted),
            (TcpState::CloseWait, Class::Unaccepted),
            (TcpState::SynRecv, Class::Unaccepted),
            (TcpState::FinWait1, Class::Orphan),
            (TcpState::FinWait2, Class::Orphan),
            (TcpState::Closing, Class::Orphan),
            (TcpState::LastAck, Class::Orphan),
        ] {
            assert_eq!(Class::of(&tcp(state, 0), &held), class, "{state:?}");
        }
        assert_eq!(
            Class::of(&minisock(TcpState::FinWait2), &held),
            Class::Minisock
        );
        let request = Found {
            state: State::Request,
            ..tcp(TcpState::SynRecv, 0)
        };
        assert_eq!(Class::of(&request, &held), Class::Request);
    }

    #[test]
    fn the_kernels_own_are_told_apart() {
        let netlink = |port| Found {
            detail: Detail::Netlink {
                protocol: 0,
                port,
                peer: 0,
            },
            ..Found::new(Protocol::Netlink, 1, 7, 9)
        };
        let nobody = Inodes::default();
        assert_eq!(Class::of(&netlink(0), &nobody), Class::Kernel);
        assert_eq!(Class::of(&netlink(12), &nobody), Class::NoDescriptor);
    }

    #[test]
    fn what_is_held_and_not_listed_is_explained() {
        assert_eq!(Unlisted::of(Some(&open(6, 0, None))), Unlisted::Idle);
        assert_eq!(Unlisted::of(Some(&open(6, 3, None))), Unlisted::Dead);
        let established = Open {
            state: 1,
            ..open(6, 0, Some(80))
        };
        assert_eq!(Unlisted::of(Some(&established)), Unlisted::Passing);
        assert_eq!(Unlisted::of(Some(&open(17, 0, None))), Unlisted::Unbound);
        assert_eq!(Unlisted::of(Some(&open(1, 0, None))), Unlisted::Other);
        assert_eq!(Unlisted::of(None), Unlisted::Unknown);

        let holder = |inode, held| Holder {
            pid: 1,
            start_ns: None,
            fd: 3,
            inode,
            held,
        };
        let pipe = Held::Pipe {
            reads: true,
            writes: false,
        };
        let holders = [
            holder(5, Held::Socket(None)),
            holder(6, Held::Socket(Some(open(6, 3, None)))),
            holder(7, pipe),
        ];
        let listed = Inodes::from_iter([5]);
        let found: Vec<_> = unlisted(&holders, &listed)
            .map(|(holder, class)| (holder.inode, class))
            .collect();
        assert_eq!(found, [(6, Unlisted::Dead)]);
    }

    #[test]
    fn ghosts_are_what_only_the_kernel_counts() {
        let rows = [
            tcp(TcpState::Established, 5),
            tcp(TcpState::Established, 0),
            minisock(TcpState::TimeWait),
            Found {
                detail: Detail::Unix(Unix {
                    waiting: 3,
                    ..Unix::default()
                }),
                ..Found::new(Protocol::Unix, 1, 8, 6)
            },
        ];
        let counted = rows.iter().map(Found::counted).sum();
        assert_eq!(counted, 2 + 4);
        assert_eq!(ghosts(9, counted), 3);
        assert_eq!(ghosts(1, counted), 0);
    }
}
