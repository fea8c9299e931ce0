//! The rows of the report: every source and destination in use, and who uses it.

use std::{collections::BTreeMap, net::IpAddr};

use smallvec::SmallVec;

use super::{Blocker, Local, Phase, Pool, PortSet, Protocol, Search, Signs, Socket, Use, Why};

/// What kind of call a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `connect()` of TCP from an address to a destination.
    Connect {
        /// From here.
        local: IpAddr,
        /// To here.
        remote: IpAddr,
        /// To this port.
        rport: u16,
    },
    /// `connect()` of TCP to where nobody is connected yet.
    ConnectAnew,
    /// `bind()` of TCP to port 0 of this address.
    Bind(Local),
    /// `bind()` of UDP to port 0 of this address; with a wildcard also `connect()` and `sendto()`.
    Udp(Local),
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Which call.
    pub kind: Kind,
    /// What it finds.
    pub ports: Use,
    /// How many of the used ports only `TIME_WAIT` keeps: they come back within a minute.
    pub kept: u32,
    /// What connections told of the search; nothing where calls are not followed.
    pub signs: Signs,
    /// In how many seconds nothing is left, if it grows as it did.
    pub eta_seconds: Option<f64>,
    /// Who has the used ports, most first; each port counts once.
    pub owners: Vec<Ownership>,
    /// All that it rests on was seen.
    pub complete: bool,
}

/// How many of the used ports somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The process; `None` where none has them, as with `TIME_WAIT`.
    pub pid: Option<u32>,
    /// How many.
    pub count: u32,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Severity {
    Warning,
    Critical,
}

impl Kind {
    /// Its protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Connect { .. } | Self::ConnectAnew | Self::Bind(_) => Protocol::Tcp,
            Self::Udp(_) => Protocol::Udp,
        }
    }

    /// The local address, unless it is about any.
    pub fn local(self) -> Option<IpAddr> {
        match self {
            Self::Connect { local, .. } => Some(local),
            Self::ConnectAnew => None,
            Self::Bind(local) | Self::Udp(local) => Some(local.address),
        }
    }

    /// The destination, unless it is about any.
    pub fn remote(self) -> Option<(IpAddr, u16)> {
        match self {
            Self::Connect { remote, rport, .. } => Some((remote, rport)),
            Self::ConnectAnew | Self::Bind(_) | Self::Udp(_) => None,
        }
    }
}

impl Row {
    /// A warning from 80 % on, which is where clouds warn of their own translated ports too, and
    /// from half full on when nothing will be left within 15 minutes: half of the range is where
    /// searches become slow. Critical from 95 % on, when nothing is left, and from half full on
    /// when nothing will be left within a minute.
    pub fn severity(&self) -> Option<Severity> {
        let ratio = self.ports.ratio();
        let within = |seconds| ratio > 0.5 && self.eta_seconds.is_some_and(|eta| eta < seconds);
        if self.ports.left == 0 || ratio >= 0.95 || within(60.0) {
            Some(Severity::Critical)
        } else if ratio >= 0.8 || within(15.0 * 60.0) {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

/// The rows of a namespace. `blockers` are [those](super::blockers) of the pool, `holder` knows
/// which process has an inode.
pub fn rows(
    netns: u32,
    pool: &Pool<'_>,
    blockers: &[Blocker],
    holder: impl Fn(u32) -> Option<u32>,
) -> Vec<Row> {
    let builder = Builder {
        netns,
        pool,
        holder: &holder,
        blocking: count(blockers.iter().map(|it| holder(it.inode))),
        listened: blockers
            .iter()
            .filter(|it| it.why == Why::Listener)
            .map(|it| it.port)
            .collect(),
    };
    let mut rows = Vec::new();
    builder.connects(&mut rows);
    if !pool.blocked().is_empty() {
        let owners = builder.blocking.clone();
        rows.push(builder.row(Kind::ConnectAnew, pool.connect_anew(), owners));
    }
    builder.binds(&mut rows);
    builder.udp(&mut rows);
    rows
}

type Counts = BTreeMap<Option<u32>, u32>;

fn count(pids: impl Iterator<Item = Option<u32>>) -> Counts {
    let mut counts = Counts::new();
    for pid in pids {
        *counts.entry(pid).or_default() += 1;
    }
    counts
}

struct Builder<'a, H> {
    netns: u32,
    pool: &'a Pool<'a>,
    holder: &'a H,
    /// Who has the blocked ports.
    blocking: Counts,
    /// Ports on which somebody listens: connections there were accepted.
    listened: PortSet,
}

impl<'a, H: Fn(u32) -> Option<u32>> Builder<'a, H> {
    fn row(&self, kind: Kind, ports: Use, owners: Counts) -> Row {
        let mut owners: Vec<_> = owners
            .into_iter()
            .map(|(pid, count)| Ownership { pid, count })
            .collect();
        // Nobody comes last: people look for somebody.
        owners.sort_by_key(|it| (it.pid.is_none(), std::cmp::Reverse(it.count)));
        Row {
            netns: self.netns,
            kind,
            ports,
            kept: 0,
            signs: Signs::default(),
            eta_seconds: None,
            owners,
            complete: false,
        }
    }

    /// Who has the ports of these sockets, each port once.
    fn owners(&self, sockets: impl IntoIterator<Item = &'a Socket>) -> Counts {
        // Of those that share one, rather somebody's.
        let mut ports: SmallVec<[_; 16]> = sockets
            .into_iter()
            .map(|it| (it.port, it.inode == 0, it.inode))
            .collect();
        ports.sort_unstable();
        ports.dedup_by_key(|(port, ..)| *port);
        count(ports.iter().map(|(.., inode)| (self.holder)(*inode)))
    }

    /// How many of these are in `TIME_WAIT`.
    fn kept(sockets: impl Iterator<Item = &'a Socket>) -> u32 {
        let kept = sockets.filter(|it| matches!(it.phase, Phase::TimeWait { .. }));
        u32::try_from(kept.count()).unwrap_or(u32::MAX)
    }

    /// One row for each source and destination.
    fn connects(&self, rows: &mut Vec<Row>) {
        // No more than where they are: there may be a hundred thousand.
        let mut open: Vec<_> = self
            .pool
            .sockets(Protocol::Tcp)
            .filter(|it| !self.listened.contains(it.port) && self.pool.holds(it))
            .filter(|it| it.remote.is_some())
            .collect();
        let ends = |it: &Socket| (it.local.address, it.remote);
        open.sort_unstable_by_key(|it| ends(it));
        for group in open.chunk_by(|one, other| ends(one) == ends(other)) {
            let Some((local, Some((remote, rport)))) = group.first().map(|it| ends(it)) else {
                continue;
            };
            let sockets = group.iter().copied();
            let ports = self.pool.connect_beside(Search::Connect, sockets.clone());
            let blocked = self.pool.blocked();
            let kept = Self::kept(sockets.clone());
            let mut owners = self.owners(sockets.filter(|it| !blocked.contains(it.port)));
            for (pid, count) in &self.blocking {
                *owners.entry(*pid).or_default() += count;
            }
            let kind = Kind::Connect {
                local,
                remote,
                rport,
            };
            rows.push(Row {
                kept,
                ..self.row(kind, ports, owners)
            });
        }
    }

    /// One row for each address that somebody bound a port of, but for listeners and what they
    /// accepted: those chose their port.
    fn binds(&self, rows: &mut Vec<Row>) {
        let explicit = |it: &&Socket| {
            self.pool.blocked().contains(it.port) && !self.listened.contains(it.port)
        };
        let sockets = self.pool.sockets(Protocol::Tcp);
        let mut locals: Vec<_> = sockets.filter(explicit).map(bindable).collect();
        locals.sort_unstable();
        locals.dedup();
        for local in locals {
            let sockets = self.pool.sockets(Protocol::Tcp);
            let met = sockets.filter(|it| local.overlaps(it.local));
            let kept = Self::kept(met.clone());
            let row = self.row(Kind::Bind(local), self.pool.bind(local), self.owners(met));
            rows.push(Row { kept, ..row });
        }
    }

    /// One row for each wildcard under which UDP sockets have ports, and one for each address that
    /// somebody bound one of. What `connect()` chose an address for was a wildcard before.
    fn udp(&self, rows: &mut Vec<Row>) {
        let sockets = || self.pool.sockets(Protocol::Udp);
        let wildcard = |it: &Socket| Local::from(it.local.address).wildcard();
        let bound = sockets().filter(|it| it.phase == Phase::Bound && it.remote.is_none());
        let mut locals: Vec<_> = sockets().map(wildcard).chain(bound.map(bindable)).collect();
        locals.sort_unstable();
        locals.dedup();
        for local in locals {
            let met = sockets().filter(|it| local.overlaps(it.local));
            rows.push(self.row(Kind::Udp(local), self.pool.udp(local), self.owners(met)));
        }
    }
}

/// What another socket would have that is bound to the same address.
fn bindable(socket: &Socket) -> Local {
    Local {
        only_ipv6: socket.local.only_ipv6 || Local::from(socket.local.address).only_ipv6,
        ..socket.local
    }
}
