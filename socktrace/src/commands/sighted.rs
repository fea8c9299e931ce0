//! What a snapshot found, as much as the table takes of it: there may be a hundred thousand.

use hashbrown::HashSet;
use smallvec::SmallVec;
use socktrace_common::socket::SocketInfo;

use crate::{clock::monotonic_ns, inventory::Row, source::Adopted};

/// A row of a snapshot, as much as the table takes of it.
pub(super) struct Sighting {
    pub(super) adopted: Adopted,
    pub(super) listens_at: Option<(u32, u16)>,
    waits_at: Option<(u32, u16)>,
}

impl Sighting {
    pub(super) fn new(row: &Row) -> Option<Self> {
        Some(Self {
            adopted: row.adopted(monotonic_ns())?,
            listens_at: row.listens_at(),
            waits_at: row.waits_at(),
        })
    }

    /// Does nobody hold it but we? The kernel side does not tell of ours either.
    pub(super) fn is_ours(&self, own: u32) -> bool {
        let holders = &self.adopted.holders;
        !holders.is_empty() && holders.iter().all(|&(pid, _)| pid == own)
    }
}

/// What is left of a connection, of which there may be a hundred thousand: a minisock, which nobody
/// holds.
pub(super) struct Left {
    pub(super) socket: SocketInfo,
    since_ns: u64,
    until_ns: u64,
}

impl Left {
    /// Of a minisock; anything else is a sighting.
    pub(super) fn new(adopted: &Adopted) -> Option<Self> {
        Some(Self {
            socket: adopted.socket,
            since_ns: adopted.state_since_ns,
            until_ns: adopted.until_ns?,
        })
    }

    pub(super) fn adopted(&self) -> Adopted {
        Adopted {
            socket: self.socket,
            holders: SmallVec::new(),
            served: false,
            born_ns: self.since_ns,
            state_since_ns: self.since_ns,
            until_ns: Some(self.until_ns),
            name: None,
        }
    }
}

/// Which sockets belong to the followed processes.
pub(super) struct Followed<'a> {
    pids: Option<&'a HashSet<u32>>,
    listened: HashSet<(u32, u16)>,
}

impl<'a> Followed<'a> {
    pub(super) fn new(pids: Option<&'a HashSet<u32>>, rows: &[Sighting]) -> Self {
        let mut followed = Self {
            pids,
            listened: HashSet::new(),
        };
        if pids.is_some() {
            let listeners = rows.iter().filter(|row| followed.holds(row));
            followed.listened = listeners.filter_map(|row| row.listens_at).collect();
        }
        followed
    }

    /// Does a followed process hold it?
    fn holds(&self, row: &Sighting) -> bool {
        let holders = &row.adopted.holders;
        self.pids
            .is_none_or(|pids| holders.iter().any(|(pid, _)| pids.contains(pid)))
    }

    /// That, or nobody has accepted it yet from a listener of theirs: it is theirs in all but name.
    pub(super) fn has(&self, row: &Sighting) -> bool {
        self.holds(row) || row.waits_at.is_some_and(|at| self.listened.contains(&at))
    }
}
