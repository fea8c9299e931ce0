//! What a run looks for, and how the kernel side is told before it is attached.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapError},
};
use socktrace_common::{
    config::{
        FILTER_LOCAL_PORTS, FILTER_PIDS, FILTER_REMOTE_PORTS, FOLD_LIVES, KEEP_STACKS,
        LIVES_FROM_CONNECT, PORT_WORDS, SHELVE, STACKS_OF_PIDS,
    },
    event::EventKind,
    socket::Protocol,
};

use super::catalog::{OVER_IP, needed};

/// How many lives are kept in the kernel: 9 MB. Where more are wanted, their steps are told.
const LIVES: u32 = 32_768;

/// What to look at: set before anything is attached.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Bits of the wanted kinds, see [`catalog::needed`](super::catalog::needed).
    pub kinds: u32,
    /// Of `kinds`, those that are only wanted where no other hook tells of the end of UDP and raw
    /// sockets.
    pub stand_ins: u32,
    /// Only these processes, as our pid namespace numbers them, and their children.
    pub pids: Option<Vec<u32>>,
    /// Only these local ports.
    pub local_ports: Vec<u16>,
    /// Only these remote ports.
    pub remote_ports: Vec<u16>,
    /// `ONLY_IPV4` or `ONLY_IPV6`, or 0.
    pub families: u32,
    /// Bits of the wanted protocols, see [`Protocol`].
    pub protocols: u32,
    /// Size of the ring buffer in bytes: a power of two.
    pub ring_bytes: u32,
    /// Keep so many different stacks of calls that make sockets; 0 for none.
    pub stacks: u32,
    /// Those of these processes only, if any are named; and those of `pids`.
    pub stacks_of: Vec<u32>,
    /// Keep the lives of so many young TCP sockets in the kernel, a power of two, and tell each at once;
    /// 0 to tell every step as it happens. For who follows everything and waits for no single event.
    pub lives: u32,
    /// Those that end are left where [`Probes::take_shelves`](super::Probes::take_shelves) finds them, and not in
    /// the ring, where this kernel can do so.
    pub shelves: bool,
    /// How much of the kernel is hooked.
    pub hooks: Hooks,
    /// Which attach points may be used.
    pub mode: AttachMode,
    /// Let the kernel side log.
    pub kernel_log: bool,
}

/// How much of the kernel is hooked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Hooks {
    /// All that tells something
    #[default]
    Full,
    /// No system call, so that programs without sockets pay nothing. Who accepted a connection is
    /// then known from snapshots, as are sockets without a connection; connects that fail before a
    /// packet is sent are not seen, nor are `close`, `bind` and `listen`
    Lean,
}

/// Which attach points may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// Typed tracepoints, classic ones where those are refused
    #[default]
    Auto,
    /// Classic tracepoints only, as on a kernel without BTF tracepoints
    Classic,
}

impl Plan {
    /// Everything that happens to sockets of these protocols, whosesoever they are.
    pub fn everything(protocols: &[Protocol], ring_bytes: u32) -> Self {
        let protocols = protocols.iter().fold(0, |bits, it| bits | it.bit());
        Self {
            kinds: needed(&EventKind::ALL, protocols),
            protocols,
            ring_bytes,
            ..Self::default()
        }
    }

    /// The same, but for which process lets go of which descriptor: for who asks snapshots who holds
    /// what. That the last one is gone shows in what becomes of the socket, and every `close()` of the
    /// machine is spared a hook.
    pub fn watching(protocols: &[Protocol], ring_bytes: u32) -> Self {
        Self {
            stand_ins: EventKind::Close.bit() | EventKind::Descriptors.bit(),
            ..Self::everything(protocols, ring_bytes)
        }
    }

    /// The same, for who waits for no single event of TCP sockets: see [`Plan::lives`].
    #[must_use]
    pub fn folded(self) -> Self {
        Self {
            lives: LIVES,
            shelves: true,
            ..self
        }
    }

    /// For who asks for TCP connections only: a socket is told of from its first change of state, which
    /// happens in the process that connects it. Spares every connection the hooks of `socket()` and `connect()`.
    #[must_use]
    pub fn of_connections(self) -> Self {
        let spared = EventKind::Socket.bit() | EventKind::Connect.bit();
        Self {
            kinds: self.kinds & !spared,
            ..self
        }
    }

    /// Are all sockets of a kind that `sock_create` can tell of, and does nobody ask for their descriptors at
    /// once? Snapshots find those.
    pub(super) fn needs_no_descriptors(&self) -> bool {
        self.flags() & FOLD_LIVES != 0
            && self.kinds & EventKind::Socket.bit() != 0
            && self.protocols & !OVER_IP == 0
    }

    /// How many lives have a place that stays in the CPU's caches: 290 kB of [`LIVES`]. Most are soon over,
    /// and leave it to the next.
    pub(super) fn near_lives(&self) -> u32 {
        (self.lives / 32).max(1)
    }

    /// The kinds that are wanted, where `released` says whether `sock_release` tells of ends.
    pub(super) fn kinds(&self, released: bool) -> u32 {
        if released {
            self.kinds & !self.stand_ins
        } else {
            self.kinds
        }
    }

    /// `FILTER_*` and `ONLY_*` of the object's configuration.
    pub(super) fn flags(&self) -> u32 {
        let mut flags = self.families;
        if self.pids.is_some() {
            flags |= FILTER_PIDS;
        }
        if self.stacks > 0 {
            flags |= KEEP_STACKS;
        }
        if !self.stacks_of.is_empty() {
            flags |= STACKS_OF_PIDS;
        }
        if !self.local_ports.is_empty() {
            flags |= FILTER_LOCAL_PORTS;
        }
        if !self.remote_ports.is_empty() {
            flags |= FILTER_REMOTE_PORTS;
        }
        if self.lives > 0 && flags == 0 {
            flags |= FOLD_LIVES;
            if self.shelves {
                flags |= SHELVE;
            }
            if self.hooks == Hooks::Lean || self.kinds & EventKind::Socket.bit() == 0 {
                flags |= LIVES_FROM_CONNECT;
            }
        }
        flags
    }

    /// Fills the maps that filters look into.
    pub(super) fn fill_maps(&self, ebpf: &mut Ebpf) -> Result<(), MapError> {
        let missing = |name: &str| MapError::InvalidName { name: name.into() };
        let pids = ebpf.map_mut("PIDS").ok_or_else(|| missing("PIDS"))?;
        let mut pids = HashMap::<_, u32, u8>::try_from(pids)?;
        for pid in self.pids.iter().flatten().chain(&self.stacks_of) {
            pids.insert(pid, 1, 0)?;
        }
        let ports = ebpf.map_mut("PORTS").ok_or_else(|| missing("PORTS"))?;
        let mut ports = Array::<_, u64>::try_from(ports)?;
        let sides = [(0, &self.local_ports), (PORT_WORDS, &self.remote_ports)];
        for (base, wanted) in sides {
            for &port in wanted {
                let word = base + u32::from(port) / 64;
                let bits = ports.get(&word, 0)? | 1 << (port % 64);
                ports.set(word, bits, 0)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_with_its_connect_where_sockets_are_not_told() {
        let all = Plan {
            lives: LIVES,
            ..Plan::everything(&[Protocol::Tcp], 1 << 16)
        };
        assert_eq!(all.flags() & LIVES_FROM_CONNECT, 0);
        let connections = all.of_connections();
        assert_ne!(connections.flags() & LIVES_FROM_CONNECT, 0);
        assert_ne!(connections.flags() & FOLD_LIVES, 0);
        assert_ne!(
            connections.kinds & EventKind::Accept.bit(),
            0,
            "owners of servers"
        );
    }

    #[test]
    fn closes_stand_in_for_ends_that_no_hook_tells() {
        let plan = Plan::watching(&[Protocol::Tcp, Protocol::Udp], 1 << 16);
        let closes = EventKind::Close.bit() | EventKind::Descriptors.bit();
        assert_eq!(plan.kinds(false) & closes, closes);
        assert_eq!(plan.kinds(true), plan.kinds(false) & !closes);
    }
}
