//! The ports of a namespace, and what is left of them for each kind of call.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::{Blocked, Local, Phase, PortSet, Protocol, Search, Settings, Socket};

/// The ports of a namespace, its sockets, and its rules.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    settings: &'a Settings,
    /// X, as far as it lies in R.
    blocked: PortSet,
    blocked_count: u32,
    sockets: &'a [Socket],
}

/// How the eligible ports look to one kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// |R|.
    pub eligible: u32,
    /// |X| for `connect()`; else how many of the used ports are blocked for `connect()`.
    pub blocked: u32,
    /// How many of the eligible ports this call cannot get.
    pub used: u32,
    /// How many such calls are sure to succeed, one after the other. The rest of the ports, less
    /// one where the range has an odd number and the search may miss its end.
    pub left: u32,
}

impl Use {
    /// `used` of `eligible`; 1 where none is eligible.
    pub fn ratio(self) -> f64 {
        match self.eligible {
            0 => 1.0,
            eligible => f64::from(self.used) / f64::from(eligible),
        }
    }
}

impl<'a> Pool<'a> {
    /// From what a look brought.
    pub fn new(settings: &'a Settings, blocked: &Blocked, sockets: &'a [Socket]) -> Self {
        let mut blocked = blocked.ports.clone();
        blocked.keep(settings.eligible.ports());
        Self {
            settings,
            blocked_count: blocked.len(),
            blocked,
            sockets,
        }
    }

    /// X, as far as it lies in R.
    pub fn blocked(&self) -> &PortSet {
        &self.blocked
    }

    /// Its sockets of a protocol whose port is eligible.
    pub fn sockets(&self, protocol: Protocol) -> impl Iterator<Item = &'a Socket> + Clone {
        let eligible = &self.settings.eligible;
        self.sockets
            .iter()
            .filter(move |it| it.protocol == protocol && eligible.contains(it.port))
    }

    /// `connect()` from an address to a destination.
    pub fn connect(&self, local: IpAddr, remote: IpAddr, rport: u16) -> Use {
        let same = |it: &&Socket| it.local.address == local && it.remote == Some((remote, rport));
        self.connect_beside(Search::Connect, self.sockets(Protocol::Tcp).filter(same))
    }

    /// The same for a socket with `IP_LOCAL_PORT_RANGE`, given the settings
    /// [`narrowed`](Settings::narrowed) to it.
    pub fn connect_in_range(&self, local: IpAddr, remote: IpAddr, rport: u16) -> Use {
        let same = |it: &&Socket| it.local.address == local && it.remote == Some((remote, rport));
        let beside = self.sockets(Protocol::Tcp).filter(same);
        self.connect_beside(Search::ConnectInRange, beside)
    }

    /// `connect()` to where nobody is connected.
    pub fn connect_anew(&self) -> Use {
        self.connect_beside(Search::Connect, [])
    }

    /// `connect()` beside these connections, which have the same source and destination: X ∪ T.
    pub fn connect_beside(
        &self,
        search: Search,
        others: impl IntoIterator<Item = &'a Socket>,
    ) -> Use {
        // A namespace may have a hundred thousand destinations: no set for each.
        let mut ports: SmallVec<[u16; 16]> = others
            .into_iter()
            .filter(|it| !self.blocked.contains(it.port) && self.holds(it))
            .map(|it| it.port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        let taken = |port| self.blocked.contains(port) || ports.binary_search(&port).is_ok();
        let eligible = &self.settings.eligible;
        // No more than there are ports.
        let used = self.blocked_count + u32::try_from(ports.len()).unwrap_or(0);
        Use {
            eligible: eligible.count(),
            blocked: self.blocked_count,
            used,
            left: eligible.left(search, used, taken),
        }
    }

    /// Does it keep others from having the same connection? All do but for `TIME_WAIT` that may be
    /// taken over.
    pub fn holds(&self, socket: &Socket) -> bool {
        match (socket.phase, socket.remote) {
            (Phase::TimeWait { age_ms, timestamps }, Some((remote, _))) => !self
                .settings
                .reuse
                .allows(age_ms, timestamps, socket.local.address, remote),
            _ => true,
        }
    }

    /// `bind()` to port 0 of an address, B(s): every owner of an overlapping address is in the
    /// way, connections in whatever state included. Neither `SO_REUSEADDR` nor `SO_REUSEPORT`
    /// changes that, unless `ip_autobind_reuse` is on.
    pub fn bind(&self, local: Local) -> Use {
        self.bind_by(Search::Bind, local)
    }

    /// The same with the search of a socket with `SO_REUSEADDR`.
    pub fn bind_reusing(&self, local: Local) -> Use {
        self.bind_by(Search::BindReuseAddr, local)
    }

    fn bind_by(&self, search: Search, local: Local) -> Use {
        let taken = self.overlapping(Protocol::Tcp, local);
        self.used(search, &taken)
    }

    /// UDP: `bind()` to port 0 of an address. With a wildcard, which is what a socket has that was
    /// never bound, also `connect()` and `sendto()`: U(w). Sockets with `SO_REUSEADDR` or
    /// `SO_REUSEPORT` share ports, for them it is an upper bound.
    pub fn udp(&self, local: Local) -> Use {
        let taken = self.overlapping(Protocol::Udp, local);
        Use {
            blocked: 0,
            ..self.used(Search::Udp, &taken)
        }
    }

    /// The eligible ports with a socket that overlaps this address.
    fn overlapping(&self, protocol: Protocol, local: Local) -> PortSet {
        let meets = |it: &&Socket| local.overlaps(it.local);
        let met = self.sockets(protocol).filter(meets);
        met.map(|socket| socket.port).collect()
    }

    fn used(&self, search: Search, taken: &PortSet) -> Use {
        let eligible = &self.settings.eligible;
        let used = taken.len();
        Use {
            eligible: eligible.count(),
            blocked: taken.common(&self.blocked),
            used,
            left: eligible.left(search, used, |port| taken.contains(port)),
        }
    }
}
