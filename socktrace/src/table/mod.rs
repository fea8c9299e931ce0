//! The socket table: what the events add up to.
//!
//! [`SocketTable::apply`] takes an event and says what changed. It does no I/O and reads no clock.

mod adopt;
mod apply;
mod audience;
mod calls;
mod connect;
mod descendants;
mod entry;
mod holders;
mod lifecycle;
mod names;
mod neighbours;
mod opened;
mod past;
mod processes;
mod reconcile;
mod rules;
mod socket;
mod states;
mod store;
mod teller;
#[cfg(test)]
mod tests;
mod time_waits;
mod view;
mod whole;

use std::sync::Arc;

use hashbrown::HashMap;
use socktrace_common::{
    event::Header,
    socket::{INODE_ID, Protocol, SYNTHETIC_ID, SocketInfo},
};

pub use self::{
    audience::{Audience, Brief, Look, Looks},
    entry::{Accepts, Entry},
    opened::{Call, Opened, Place},
    past::Past,
    reconcile::Corrections,
    time_waits::TimeWait,
};
use self::{
    holders::Holders,
    names::Named,
    processes::Processes,
    reconcile::Pass,
    socket::{Holder, Socket},
    store::Store,
    teller::Teller,
    time_waits::TimeWaits,
    view::view,
};
use crate::{
    change::{Change, Ownership, View, What},
    process::{Comm, Details, Process},
};

/// How many sockets a table takes unless told otherwise: about a quarter of a gigabyte.
pub const MOST_SOCKETS: usize = 1_000_000;

/// So many sockets stay in the CPU's caches: a third of a megabyte.
const CACHED: usize = 2_000;

/// The sockets and processes that we know of.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SocketTable {
    sockets: Store,
    processes: Processes,
    holders: Holders,
    named: Named,
    time_waits: TimeWaits,
    /// By the listener's identity.
    accepts: HashMap<u64, Accepts>,
    /// No more sockets than this. The oldest are never given up for new ones: they are the leaks.
    most: usize,
    untracked: u64,
    /// The snapshot that is being taken.
    pass: Option<Pass>,
    /// The last time at which an event may have been lost.
    lost_at: Option<u64>,
    /// A snapshot that began after the last loss has been taken.
    repaired: bool,
    /// Snapshots that have been taken in.
    snapshots: u64,
    corrections: Corrections,
    /// Processes that have exited are remembered for a while: what they did is told late.
    pub keeps_exited: bool,
    /// What stays of connections is remembered. Who shows lives only asks for nothing of them.
    pub keeps_time_waits: bool,
    /// Rows say no more of their sockets than somebody looks at. Those of which snapshots tell say all.
    pub looks: Looks,
    /// The event that is being taken in is told after others that came after it.
    late: bool,
}

impl Default for SocketTable {
    fn default() -> Self {
        Self::new(MOST_SOCKETS)
    }
}

impl SocketTable {
    /// A table of at most so many sockets.
    pub fn new(most: usize) -> Self {
        Self {
            sockets: Store::default(),
            processes: Processes::default(),
            holders: Holders::default(),
            named: Named::default(),
            time_waits: TimeWaits::new(most),
            accepts: HashMap::new(),
            most,
            untracked: 0,
            pass: None,
            lost_at: None,
            repaired: true,
            snapshots: 0,
            corrections: Corrections::default(),
            keeps_exited: false,
            keeps_time_waits: true,
            looks: Looks::FULL,
            late: false,
        }
    }

    /// How many sockets found no room. Each of them may have been counted more than once: nothing
    /// is remembered of them.
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Sockets that are open.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Are there so many that the CPU's caches do not have most of them?
    pub(crate) fn is_large(&self) -> bool {
        self.len() > CACHED
    }

    /// Reads what is known of these sockets, of which the next events are: one after the other, each would be
    /// waited for.
    pub(crate) fn fetch(&self, ids: impl Iterator<Item = u64>) {
        self.sockets.fetch(ids);
    }

    /// Is a socket with this identity among them?
    pub fn contains(&self, id: u64) -> bool {
        self.sockets.contains(id)
    }

    /// Has this process been told of, by the kernel side or by [`Self::describe`]? Of one that has
    /// no number here (0) there is nothing to tell.
    pub fn knows(&self, pid: u32) -> bool {
        pid == 0 || self.processes.is_known(pid)
    }

    /// Takes over what `/proc` says of a process.
    pub fn describe(&mut self, pid: u32, comm: Option<Comm>, details: Details) {
        let process = self.processes.describe(pid, comm, details);
        self.reown(&process);
    }

    /// Its sockets carry the process's new description.
    fn reown(&mut self, process: &Arc<Process>) {
        for id in self.holders.of(process.pid) {
            if let Some(socket) = self.sockets.get_mut(id)
                && let Some(owner) = &mut socket.owner
                && owner.is(process)
            {
                *owner = Arc::clone(process);
            }
        }
    }

    /// The running process; `None` for one that our pid namespace has no number for.
    fn running(&mut self, header: &Header) -> Option<&Arc<Process>> {
        (header.tgid != 0).then(|| self.processes.at(header.tgid, header.mono_ns))
    }

    /// The socket of a call, known from here on if it was not. `None` where the kernel gave it no
    /// identity, or where there is no room.
    fn socket(&mut self, info: &SocketInfo) -> Option<&mut Socket> {
        if !self.sockets.contains(info.id) {
            self.rename(info);
            if !self.sockets.contains(info.id) {
                self.keep(Socket::new(info));
            }
        }
        let socket = self.sockets.get_mut(info.id)?;
        socket.update(info);
        Some(socket)
    }

    /// A socket that had no cookie was known by its inode; now somebody has asked for one.
    fn rename(&mut self, info: &SocketInfo) {
        let has_cookie = info.id != 0 && info.id < SYNTHETIC_ID;
        let Some(before) = inode_id(info).filter(|_| has_cookie) else {
            return;
        };
        if let Some(socket) = self.sockets.rename(before, info.id) {
            for &Holder { pid, fd } in &socket.holders {
                self.holders.hold(pid, fd, info.id);
            }
        }
    }

    /// A socket begins now. If a snapshot has found it, whoever holds it is still its holder: the
    /// event is older than the snapshot, which was taken in first.
    fn begin(&mut self, info: &SocketInfo, now: u64) -> Option<&mut Socket> {
        let mut socket = Socket::born(info, now);
        if let Some(found) = self.sockets.get_mut(info.id) {
            socket.inherit(std::mem::take(found));
            // Its place needs its identity to be found again.
            *found = socket;
        } else {
            self.keep(socket);
        }
        self.sockets.get_mut(info.id)
    }

    /// Keeps a socket, in the place of the one with its identity.
    fn keep(&mut self, socket: Socket) {
        let id = socket.id();
        if id == 0 {
            return;
        }
        if self.len() >= self.most && !self.sockets.contains(id) {
            self.untracked += 1;
            return;
        }
        self.sockets.insert(socket);
    }

    /// The process that runs holds the socket from now on.
    fn holds(&mut self, header: &Header, fd: i32, id: u64) {
        let pid = header.tgid;
        let taken = self.late && self.holders.held(pid, fd).is_some();
        if !taken && !self.processes.has_exited(pid, header.mono_ns) {
            self.hold(pid, fd, id);
        }
    }

    /// The process holds the socket from now on, unless it has no number, or no descriptor for it.
    fn hold(&mut self, pid: u32, fd: i32, id: u64) {
        // Its present identity, if it has another by now.
        let known = self.sockets.get(id).map(Socket::id);
        let Some(id) = known.filter(|_| pid != 0 && fd >= 0 && !self.processes.is_gone(pid)) else {
            return;
        };
        // What the descriptor named before went without a word: a call that was lost.
        if let Some(before) = self.holders.hold(pid, fd, id) {
            self.unhold(before, pid, fd);
        }
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.holders.push(Holder { pid, fd });
        }
    }

    fn unhold(&mut self, id: u64, pid: u32, fd: i32) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket
                .holders
                .retain(|holder| *holder != Holder { pid, fd });
        }
    }

    /// Tells a row about the socket of `info`, done by the running process.
    fn tell(
        &mut self,
        header: &Header,
        info: &SocketInfo,
        fd: Option<i32>,
        what: What,
        audience: &mut impl Audience,
    ) {
        if let Some(socket) = self.sockets.get_mut(info.id) {
            let mut teller = Teller::new(self.looks, audience);
            teller.tell(socket, header, fd, what);
        } else if let Some(mut change) = self.unkept(header, info, fd, what) {
            audience.row(&mut change);
        }
    }

    /// A row about a socket of which nothing is kept, without identity or room. Only calls that make an owner
    /// name one then.
    fn unkept(
        &mut self,
        header: &Header,
        info: &SocketInfo,
        fd: Option<i32>,
        what: What,
    ) -> Option<Change> {
        let protocol = Protocol::of(info.family, info.proto);
        if self.looks.at(protocol, &what) == Look::None {
            return None;
        }
        let socket = if what.makes_owner() && header.tgid != 0 {
            View {
                owner: self.running(header).cloned(),
                ownership: Ownership::Exact,
                takes_part: what.takes_part(),
                ..view(info)
            }
        } else {
            view(info)
        };
        Some(Change {
            mono_ns: header.mono_ns,
            socket,
            actor: (header.tgid != 0).then_some(header.tgid),
            tid: (header.tid != 0).then_some(header.tid),
            fd: fd.filter(|fd| *fd >= 0),
            what,
        })
    }
}

/// The identity of a socket before it had a cookie; `None` of TCP, which is known by its cookie
/// alone. An MPTCP socket's first subflow is TCP, and has its inode.
fn inode_id(info: &SocketInfo) -> Option<u64> {
    let tcp = Protocol::of(info.family, info.proto) == Protocol::Tcp;
    (!tcp && info.inode != 0).then(|| INODE_ID | u64::from(info.inode))
}
