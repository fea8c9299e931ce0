//! Every network namespace, with a netlink socket in each.

mod enter;
mod find;
mod inside;
mod population;
mod room;
mod sysctls;

use std::{fs::File, io};

use hashbrown::HashMap;

use self::{enter::enter_all, find::Way, room::namespaces_at_most};
pub use self::{population::Population, sysctls::Sysctls};
use super::{Buffer, Diag, DiagError, Dumped, Found, Query, States};

/// So many namespaces that cannot be entered are named.
const NAMED: usize = 10;

/// The network namespaces of the machine, as far as they can be entered.
///
/// What is open in a namespace keeps it alive, so one that nobody else uses is let go of by the
/// next [`refresh`](Self::refresh).
#[derive(Debug, Default)]
pub struct Namespaces {
    opened: Vec<Namespace>,
    skipped: Vec<Skipped>,
    /// There are no descriptors for so many.
    crowded_out: usize,
    unreadable: usize,
}

/// A network namespace that can be asked.
#[derive(Debug)]
pub struct Namespace {
    inum: u32,
    /// The namespace itself, to be entered again.
    own: File,
    diag: Diag,
    /// Its `/proc/net/sockstat`.
    sockstat: File,
    /// Its `/proc/net/sockstat6`, unless IPv6 is off.
    sockstat6: Option<File>,
}

/// A network namespace that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Skipped {
    /// Its inode number.
    inum: u32,
    /// Why, for people.
    reason: String,
}

/// A socket in some network namespace, which leads there when nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Inode number of the namespace.
    pub netns: u32,
    /// A process that holds the socket.
    pub pid: u32,
    /// Its descriptor there.
    pub fd: u32,
}

impl Namespaces {
    /// None yet: see [`refresh`](Self::refresh).
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for namespaces: those of processes, those in `/run/netns`, and those of `leads`.
    /// Opens the new ones and closes those that are there for our sake only. Those that cannot be
    /// entered are told of in [`notes`](Self::notes), and tried again the next time. So are those for
    /// which there are no descriptors: the numbers of namespaces tell who was there first.
    ///
    /// It fails only where nothing can be looked for: without `/proc`, without threads.
    pub fn refresh(&mut self, leads: impl IntoIterator<Item = Lead>) -> io::Result<()> {
        let (mut ways, unreadable): (HashMap<u32, Way>, _) = find::processes()?;
        self.unreadable = unreadable;
        for (inum, way) in find::names() {
            ways.entry(inum).or_insert(way);
        }
        let own = std::process::id();
        for lead in leads {
            if lead.netns != 0 && lead.pid != own {
                let (pid, fd) = (lead.pid, lead.fd);
                ways.entry(lead.netns).or_insert(Way::Socket { pid, fd });
            }
        }
        self.opened
            .retain(|namespace| ways.remove(&namespace.inum).is_some());
        self.skipped.clear();
        self.crowded_out = 0;
        if !ways.is_empty() {
            let room = namespaces_at_most().saturating_sub(self.opened.len());
            self.crowded_out = ways.len().saturating_sub(room);
            enter_all(ways, room, &mut self.opened, &mut self.skipped)?;
        }
        Ok(())
    }

    /// Those that can be asked.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.opened.iter_mut()
    }

    /// The one with this inode number.
    pub fn get_mut(&mut self, inum: u32) -> Option<&mut Namespace> {
        self.opened.iter_mut().find(|it| it.inum == inum)
    }

    /// What to say of those that cannot, of which only those that are `wanted` are named; `what` is not done
    /// with them. A few are enough to see why.
    pub fn notes(&self, what: &str, wanted: impl Fn(u32) -> bool) -> Vec<String> {
        let skipped = || self.skipped.iter().filter(|it| wanted(it.inum));
        let mut notes: Vec<_> = skipped()
            .take(NAMED)
            .map(|it| format!("namespace {} is not {what}: {}", it.inum, it.reason))
            .collect();
        match skipped().count().saturating_sub(NAMED) {
            0 => {}
            more => notes.push(format!("{more} more namespaces are not {what}")),
        }
        if self.crowded_out > 0 {
            notes.push(format!(
                "{} namespaces are not {what}: there are descriptors for {} (ulimit -Hn, in a unit LimitNOFILE=)",
                self.crowded_out,
                self.opened.len()
            ));
        }
        notes
    }

    /// How many processes do not show their namespace, for want of `CAP_SYS_PTRACE`. It may be one
    /// that is known otherwise.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }
}

impl Namespace {
    /// Its inode number, as in `/proc/PID/ns/net`. Unique while it is open here.
    pub fn inum(&self) -> u32 {
        self.inum
    }

    /// See [`Diag::dump`].
    ///
    /// The kernel keeps the TCP sockets of all namespaces in one table, and walks all of it for
    /// each namespace. So one in which there is nothing, as by its own count, is not asked.
    pub fn dump(
        &mut self,
        mut query: Query,
        buffer: &mut Buffer,
        each: impl FnMut(Found),
    ) -> Result<Dumped, DiagError> {
        if query.protocol.is_inet() {
            let population = self.population()?;
            if query.protocol.is_tcp() && !population.has_tcp() {
                query.states = query.states.common(States::BOUND_INACTIVE);
            }
            if population.is_ours() || query.states == States::none() {
                return Ok(Dumped::default());
            }
        }
        self.diag.dump(query, buffer, each)
    }

    /// How many sockets it has, by the kernel's own count.
    pub fn population(&self) -> io::Result<Population> {
        Population::read(&self.sockstat, self.sockstat6.as_ref())
    }
}
