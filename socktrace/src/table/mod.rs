//! The socket table: what the events add up to.
//!
//! [`SocketTable::apply`] takes an event and says what changed. It does no I/O and reads no clock.

mod adopt;
mod apply;
mod calls;
mod connect;
mod descendants;
mod holders;
mod lifecycle;
mod names;
mod processes;
mod socket;
mod states;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hashbrown::HashMap;
use socktrace_common::{
    event::Header,
    socket::{INODE_ID, Protocol, SYNTHETIC_ID, SocketInfo},
};

use self::{
    holders::Holders,
    names::Named,
    processes::Processes,
    socket::{Holder, Socket, view},
};
use crate::{
    change::{Change, Ownership, View, What},
    process::{Comm, Details, Process},
};

/// The sockets and processes that we know of.
#[derive(Debug, Default)]
pub struct SocketTable {
    /// By identity, see [`SocketInfo::id`].
    sockets: HashMap<u64, Socket>,
    processes: Processes,
    holders: Holders,
    named: Named,
}

impl SocketTable {
    /// Sockets that are open.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Has this process been told of, by the kernel side or by [`Self::describe`]?
    pub fn knows(&self, pid: u32) -> bool {
        self.processes.is_known(pid)
    }

    /// Takes over what `/proc` says of a process.
    pub fn describe(&mut self, pid: u32, comm: Option<Comm>, details: Details) {
        let process = self.processes.describe(pid, comm, details);
        self.reown(&process);
    }

    /// Its sockets carry the process's new description.
    fn reown(&mut self, process: &Arc<Process>) {
        for id in self.holders.of(process.pid) {
            if let Some(socket) = self.sockets.get_mut(&id)
                && let Some(owner) = &mut socket.owner
                && owner.pid == process.pid
            {
                *owner = Arc::clone(process);
            }
        }
    }

    /// The socket of a call, known from here on if it was not. `None` where the kernel gave it no
    /// identity.
    fn socket(&mut self, info: &SocketInfo) -> Option<&mut Socket> {
        if info.id == 0 {
            return None;
        }
        if !self.sockets.contains_key(&info.id) {
            self.rename(info);
        }
        let socket = self
            .sockets
            .entry(info.id)
            .or_insert_with(|| Socket::new(info));
        socket.update(info);
        Some(socket)
    }

    /// A socket that had no cookie was known by its inode; now somebody has asked for one.
    fn rename(&mut self, info: &SocketInfo) {
        let before = INODE_ID | u64::from(info.inode);
        // An MPTCP socket's first subflow is TCP and has the same inode.
        let tcp = Protocol::of(info.family, info.proto) == Protocol::Tcp;
        if tcp || info.inode == 0 || info.id >= SYNTHETIC_ID {
            return;
        }
        if let Some(socket) = self.sockets.remove(&before) {
            for &Holder { pid, fd } in &socket.holders {
                self.holders.hold(pid, fd, info.id);
            }
            self.sockets.insert(info.id, socket);
        }
    }

    /// The process holds the socket from now on.
    fn hold(&mut self, pid: u32, fd: i32, id: u64) {
        // What the descriptor named before went without a word: a call that was lost.
        if let Some(before) = self.holders.hold(pid, fd, id) {
            self.unhold(before, pid, fd);
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.holders.push(Holder { pid, fd });
        }
    }

    fn unhold(&mut self, id: u64, pid: u32, fd: i32) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket
                .holders
                .retain(|holder| *holder != Holder { pid, fd });
        }
    }

    /// A row about the socket of `info`, done by the running process.
    fn change(
        &mut self,
        header: &Header,
        info: &SocketInfo,
        fd: Option<i32>,
        what: What,
    ) -> Change {
        let (view, owner_fd) = match self.sockets.get(&info.id) {
            Some(socket) => (socket.view(), socket.fd),
            // Without an identity nothing is kept, and only these calls make an owner.
            None if what.makes_owner() => (
                View {
                    owner: Some(self.processes.get(header.tgid)),
                    ownership: Ownership::Exact,
                    ..view(info)
                },
                None,
            ),
            None => (view(info), None),
        };
        Change {
            mono_ns: header.mono_ns,
            socket: view,
            actor: Some(header.tgid),
            tid: Some(header.tid),
            fd: fd.or(owner_fd),
            what,
        }
    }
}
