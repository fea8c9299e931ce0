//! Who blocks a port, and how.

use hashbrown::HashMap;

use super::{Local, Phase, Pool, Protocol, Socket};

/// How a port came to be blocked for `connect()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// Somebody listens on it.
    Listener,
    /// Somebody bound it, to port 0 or to the port, and neither listens nor is connected.
    Bound,
    /// Somebody bound it first and is connected, or it was accepted by a listener that is gone.
    Connected,
    /// Such a connection left it in `TIME_WAIT`.
    TimeWait,
    /// No socket that was listed explains it: it came or went meanwhile, or before 6.18 it is
    /// shared by connections since its explicit owner went.
    Unknown,
}

impl Why {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Listener => "listens",
            Self::Bound => "bound, not connected",
            Self::Connected => "bound before it was connected",
            Self::TimeWait => "was bound, now TIME_WAIT",
            Self::Unknown => "unknown",
        }
    }
}

/// Who blocks a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The port.
    pub port: u16,
    /// How.
    pub why: Why,
    /// Where it is bound, if the socket is known.
    pub local: Option<Local>,
    /// Inode number of the socket; 0 where no process has it.
    pub inode: u32,
}

/// One blocker for each blocked port, the one that stands for it best, from the lowest port.
pub fn blockers(pool: &Pool<'_>) -> Vec<Blocker> {
    let mut best: HashMap<u16, (Why, &Socket)> = HashMap::new();
    for socket in pool.sockets(Protocol::Tcp) {
        if pool.blocked().contains(socket.port) {
            let why = why(socket.phase);
            let entry = best.entry(socket.port).or_insert((why, socket));
            // One that a process holds says more than one that none does.
            if (why, socket.inode == 0) < (entry.0, entry.1.inode == 0) {
                *entry = (why, socket);
            }
        }
    }
    let ports = pool.blocked().iter();
    ports
        .map(|port| match best.get(&port) {
            Some((why, socket)) => Blocker {
                port,
                why: *why,
                local: Some(socket.local),
                inode: socket.inode,
            },
            None => Blocker {
                port,
                why: Why::Unknown,
                local: None,
                inode: 0,
            },
        })
        .collect()
}

fn why(phase: Phase) -> Why {
    match phase {
        Phase::Listen => Why::Listener,
        Phase::Bound => Why::Bound,
        Phase::Open => Why::Connected,
        Phase::TimeWait { .. } => Why::TimeWait,
    }
}

/// Blocked ports that have the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// How they came to be blocked.
    pub why: Why,
    /// Where they are bound.
    pub local: Option<Local>,
    /// Who has them.
    pub pid: Option<u32>,
    /// The ports, from the lowest.
    pub ports: Vec<u16>,
}

/// Puts those together that have the same reason, most ports first.
pub fn blocking(
    netns: u32,
    blockers: &[Blocker],
    holder: impl Fn(u32) -> Option<u32>,
) -> Vec<Blocking> {
    let mut groups: HashMap<_, Vec<u16>> = HashMap::new();
    for it in blockers {
        let key = (it.why, it.local, holder(it.inode));
        groups.entry(key).or_default().push(it.port);
    }
    let groups = groups
        .into_iter()
        .map(|((why, local, pid), ports)| Blocking {
            netns,
            why,
            local,
            pid,
            ports,
        });
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by_key(|it| (std::cmp::Reverse(it.ports.len()), it.ports.first().copied()));
    groups
}
