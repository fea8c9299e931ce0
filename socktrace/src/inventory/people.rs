//! Who holds what, put together by inode number.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Row,
    row::{Holding, Listeners, role},
};
use crate::{
    process::{Ask, Process, read_comm},
    source::snapshot::{
        Ends, Found, Held, Holder, Open,
        class::{Inodes, Unlisted},
    },
};

/// The holders, and what was read of their processes.
pub(super) struct People {
    /// Those of an inode after each other, by process and descriptor.
    held: Vec<Holder>,
    /// Where those of an inode begin, until they are taken.
    first: HashMap<u32, usize>,
    inodes: Inodes,
    /// By number and start.
    processes: HashMap<(u32, Option<u64>), Arc<Process>>,
    ask: Ask,
}

impl People {
    /// `ask`: what processes are told with.
    pub(super) fn new(held: Vec<Holder>, ask: Ask) -> Self {
        let mut people = Self {
            held: Vec::new(),
            first: HashMap::new(),
            inodes: Inodes::default(),
            processes: HashMap::new(),
            ask,
        };
        people.add(held);
        people
    }

    /// Adds holders of inodes that had none.
    pub(super) fn add(&mut self, mut held: Vec<Holder>) {
        held.sort_unstable_by_key(key);
        // Threads with tables of their own have copies.
        held.dedup_by_key(|holder| key(holder));
        let from = self.held.len();
        if from == 0 {
            self.held = held;
        } else {
            self.held.append(&mut held);
        }
        self.first.reserve(self.held.len() - from);
        for (place, holder) in self.held.iter().enumerate().skip(from) {
            self.inodes.insert(holder.inode);
            self.first.entry(holder.inode).or_insert(place);
        }
    }

    /// Those of an inode, from where they begin.
    fn of(&self, first: usize) -> &[Holder] {
        let rest = &self.held[first..];
        let others = rest.iter().position(|it| it.inode != rest[0].inode);
        &rest[..others.unwrap_or(rest.len())]
    }

    /// What somebody holds.
    pub(super) fn inodes(&self) -> &Inodes {
        &self.inodes
    }

    /// The row of a socket, with its holders.
    pub(super) fn row(
        &mut self,
        found: Found,
        class: Option<&'static str>,
        listeners: &Listeners,
    ) -> Row {
        let first = self.first.remove(&found.inode);
        let places = first.map_or(0..0, |first| first..first + self.of(first).len());
        let holders: Vec<_> = places.map(|place| self.holding(place)).collect();
        Row {
            role: role(&found, listeners),
            told: None,
            owner: holders.first().map(|it| Arc::clone(&it.process)),
            found,
            class,
            holders,
            receiver: None,
        }
    }

    /// What processes hold and no dump shows: pipes, and sockets that were never bound, or are
    /// over and still open. `complete`: no process hides what it holds. `raw`: no dump shows raw
    /// sockets.
    pub(super) fn each_unlisted(mut self, complete: bool, raw: bool, mut each: impl FnMut(Row)) {
        let mut left: Vec<_> = self.first.values().copied().collect();
        left.sort_unstable();
        for first in left {
            let holders = self.of(first);
            let inode = holders[0].inode;
            let (found, class) = match pipe(holders, complete) {
                Some(ends) => (Some(Found::pipe(inode, ends)), None),
                None => unlisted(holders, inode, raw),
            };
            if let Some(found) = found {
                each(self.row(found, class, &Listeners::new()));
            }
        }
    }

    fn holding(&mut self, place: usize) -> Holding {
        let holder = self.held[place];
        Holding {
            process: self.process(&holder),
            fd: holder.fd,
            held: holder.held,
        }
    }

    fn process(&mut self, holder: &Holder) -> Arc<Process> {
        let (pid, ask) = (holder.pid, self.ask);
        let process = self.processes.entry((pid, holder.start_ns));
        Arc::clone(process.or_insert_with(|| {
            let mut process = Process {
                start_ns: holder.start_ns,
                ..Process::new(pid)
            };
            let found = ask.details(pid);
            // Else it has ended meanwhile, and the number is another's.
            if found.started.is_none_or(|it| process.may_have(it)) {
                process.comm = ask.name().then(|| read_comm(pid)).flatten();
                process.details = found;
            }
            Arc::new(process)
        }))
    }
}

fn key(holder: &Holder) -> (u32, u32, u32) {
    (holder.inode, holder.pid, holder.fd)
}

/// Which ends are held, if it is a pipe.
fn pipe(holders: &[Holder], complete: bool) -> Option<Ends> {
    let (mut read, mut written) = (false, false);
    for holder in holders {
        let Held::Pipe { reads, writes } = holder.held else {
            return None;
        };
        read |= reads;
        written |= writes;
    }
    Some(Ends::of(read, written, complete))
}

/// A socket that no dump shows, and why.
fn unlisted(holders: &[Holder], inode: u32, raw: bool) -> (Option<Found>, Option<&'static str>) {
    let open: Option<Open> = holders.iter().find_map(|holder| match holder.held {
        Held::Socket(open) => open,
        Held::Pipe { .. } => None,
    });
    let class = match Unlisted::of(open.as_ref()) {
        Unlisted::Idle => Some("idle"),
        Unlisted::Dead => Some("dead"),
        Unlisted::Unbound => Some("unbound"),
        Unlisted::Raw if raw => None,
        // What was closed meanwhile is not open.
        Unlisted::Passing | Unlisted::Raw | Unlisted::Other | Unlisted::Unknown => {
            return (None, None);
        }
    };
    let found = open.and_then(|open| Found::unlisted(&open, inode));
    (found, class)
}
