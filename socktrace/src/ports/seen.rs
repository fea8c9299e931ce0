//! From what a look brought to a pool.

use hashbrown::HashSet;

use super::{Blocked, Kind, Pool, PortSet, Protocol, Release, Settings, Socket, Unreadable};
use crate::source::snapshot::{Explicit, PortLook};

/// What was seen of the ports of a namespace.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Inode number of the namespace.
    pub netns: u32,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// Its settings.
    pub settings: Settings,
    /// Its sockets that have ports.
    pub sockets: Vec<Socket>,
    /// Which ports are blocked.
    pub blocked: Blocked,
    /// The lists are whole, as far as one can tell.
    pub whole: bool,
}

impl Seen {
    /// From a look. Without the kernel's buckets it is an estimate, for which `before` is the last
    /// one for the same namespace; and connections in `TIME_WAIT` are taken to have carried
    /// timestamps if new ones do.
    pub fn new(
        look: PortLook<Socket>,
        before: Option<&Blocked>,
        release: Release,
    ) -> Result<Self, Unreadable> {
        let settings = Settings::parse(&look.sysctls)?;
        let without = |explicit: Explicit| -> (HashSet<u64>, PortSet) {
            (explicit.without_timestamps, explicit.ports.into())
        };
        let (without, ports) = look.explicit.map(without).unzip();
        let timestamps = |cookie| match &without {
            Some(without) => !without.contains(&cookie),
            None => settings.timestamps,
        };
        let sockets = look.sockets.into_iter();
        let sockets: Vec<_> = sockets
            .map(|(cookie, socket)| socket.with_timestamps(timestamps(cookie)))
            .collect();
        let blocked = match ports {
            Some(ports) => Blocked::exact(ports, &sockets),
            None => Blocked::estimate(&sockets, before, release),
        };
        Ok(Self {
            netns: look.netns,
            at_ns: look.at_ns,
            settings,
            whole: look.complete,
            sockets,
            blocked,
        })
    }

    /// Does what is said of this call rest on nothing but what was seen? An estimate of what is
    /// blocked does not; of UDP nothing is blocked.
    pub fn is_complete(&self, kind: Kind) -> bool {
        self.whole && (self.blocked.exact || kind.protocol() == Protocol::Udp)
    }

    /// Its ports.
    pub fn pool(&self) -> Pool<'_> {
        Pool::new(&self.settings, &self.blocked, &self.sockets)
    }
}
