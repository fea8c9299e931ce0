//! Who holds what, put together by inode number.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Row,
    row::{Holding, Listeners, role},
};
use crate::{
    process::{Details, Process, read_comm, read_details},
    source::snapshot::{
        Ends, Found, Held, Holder, Open,
        class::{Inodes, Unlisted},
    },
};

/// The holders, and what was read of their processes.
pub(super) struct People {
    by_inode: HashMap<u32, Vec<Holder>>,
    inodes: Inodes,
    processes: HashMap<u32, Arc<Process>>,
    details: bool,
}

impl People {
    /// `details`: processes are told with their container and what else `/proc` says.
    pub(super) fn new(held: Vec<Holder>, details: bool) -> Self {
        let mut people = Self {
            by_inode: HashMap::new(),
            inodes: Inodes::default(),
            processes: HashMap::new(),
            details,
        };
        people.add(held);
        people
    }

    /// Adds holders.
    pub(super) fn add(&mut self, held: impl IntoIterator<Item = Holder>) {
        for holder in held {
            self.inodes.insert(holder.inode);
            let holders = self.by_inode.entry(holder.inode).or_default();
            holders.push(holder);
        }
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
        let mut held = self.by_inode.remove(&found.inode).unwrap_or_default();
        held.sort_unstable_by_key(|holder| (holder.pid, holder.fd));
        // Threads with tables of their own have copies.
        held.dedup_by_key(|holder| (holder.pid, holder.fd));
        let holders: Vec<_> = held
            .iter()
            .map(|holder| Holding {
                process: self.process(holder.pid),
                fd: holder.fd,
                held: holder.held,
            })
            .collect();
        Row {
            role: role(&found, listeners),
            owner: holders.first().map(|it| Arc::clone(&it.process)),
            found,
            class,
            holders,
        }
    }

    /// What processes hold and no dump shows: pipes, and sockets that were never bound, or are
    /// over and still open. `complete`: no process hides what it holds.
    pub(super) fn add_unlisted(&mut self, rows: &mut Vec<Row>, complete: bool) {
        let mut left: Vec<_> = self.by_inode.keys().copied().collect();
        left.sort_unstable();
        for inode in left {
            let holders = &self.by_inode[&inode];
            let (found, class) = match pipe(holders, complete) {
                Some(ends) => (Some(Found::pipe(inode, ends)), None),
                None => unlisted(holders, inode),
            };
            if let Some(found) = found {
                rows.push(self.row(found, class, &Listeners::new()));
            }
        }
    }

    fn process(&mut self, pid: u32) -> Arc<Process> {
        let details = self.details;
        Arc::clone(self.processes.entry(pid).or_insert_with(|| {
            Arc::new(Process {
                pid,
                comm: read_comm(pid),
                details: if details {
                    read_details(pid)
                } else {
                    Details::default()
                },
            })
        }))
    }
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
fn unlisted(holders: &[Holder], inode: u32) -> (Option<Found>, Option<&'static str>) {
    let open: Option<Open> = holders.iter().find_map(|holder| match holder.held {
        Held::Socket(open) => open,
        Held::Pipe { .. } => None,
    });
    let class = match Unlisted::of(open.as_ref()) {
        Unlisted::Idle => "idle",
        Unlisted::Dead => "dead",
        Unlisted::Unbound => "unbound",
        // What was closed meanwhile is not open.
        Unlisted::Passing | Unlisted::Other | Unlisted::Unknown => return (None, None),
    };
    let found = open.and_then(|open| Found::unlisted(&open, inode));
    (found, Some(class))
}
