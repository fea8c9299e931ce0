//! A socket of the table, for those who look at it.

use std::sync::Arc;

use smallvec::SmallVec;
use socktrace_common::socket::{SocketInfo, TcpState};

use super::{Opened, SocketTable, socket::Socket};
use crate::{
    change::{Role, View},
    process::Process,
};

/// What was accepted from a listener.
#[derive(Clone, Debug, Default)]
pub struct Accepts {
    /// How many connections.
    pub count: u64,
    /// Who accepted them, the last ones that are different.
    pub pids: SmallVec<[u32; 4]>,
}

impl Accepts {
    /// This process accepted one.
    pub(super) fn add(&mut self, pid: u32) {
        self.count += 1;
        if !self.pids.contains(&pid) {
            if self.pids.len() == MOST_ACCEPTORS {
                self.pids.remove(0);
            }
            self.pids.push(pid);
        }
    }
}

/// More different ones are not remembered: servers that fork for each connection have no end of
/// them.
const MOST_ACCEPTORS: usize = 64;

/// A socket of the table. Times are of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    socket: &'a Socket,
    complete: bool,
}

impl SocketTable {
    /// Every socket, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.sockets.iter().map(|socket| Entry {
            socket,
            complete: self.covers(socket),
        })
    }

    /// Is a TCP connection on its way to its end, with nothing left to do for a process?
    pub fn is_settling(&self) -> bool {
        use TcpState::{Closing, FinWait1, FinWait2, LastAck, TimeWait};
        let leaving = [FinWait1, FinWait2, Closing, LastAck, TimeWait];
        let mut sockets = self.sockets.iter();
        sockets.any(|it| it.holders.is_empty() && leaving.contains(&it.state))
    }

    /// The process with this number, if it owns or holds something.
    pub fn process(&self, pid: u32) -> Option<Arc<Process>> {
        self.processes.known(pid)
    }

    /// What was accepted from a listener since we look.
    pub fn accepts(&self, listener: u64) -> Option<&Accepts> {
        self.accepts.get(&listener)
    }

    /// The socket with this identity.
    pub fn get(&self, id: u64) -> Option<Entry<'_>> {
        let socket = self.sockets.get(id)?;
        let complete = self.covers(socket);
        Some(Entry { socket, complete })
    }
}

impl Entry<'_> {
    /// What the kernel last said of it.
    pub fn info(&self) -> &SocketInfo {
        self.socket.info()
    }

    /// As people see it.
    pub fn view(&self) -> View {
        self.socket.view()
    }

    /// Who owns it.
    pub fn owner(&self) -> Option<Arc<Process>> {
        self.socket.owner.clone()
    }

    /// It was there at this time, and maybe before.
    pub fn born_ns(&self) -> Option<u64> {
        self.socket.born_ns()
    }

    /// It has been in its state since this time, and maybe longer.
    pub fn state_since_ns(&self) -> Option<u64> {
        self.socket.state_since_ns()
    }

    /// Its state.
    pub fn state(&self) -> TcpState {
        self.socket.state
    }

    /// Its part in the connection.
    pub fn role(&self) -> Role {
        self.socket.role
    }

    /// How old it is at least; exactly so if [`Self::age_is_exact`].
    pub fn age_ns(&self, now: u64) -> Option<u64> {
        self.socket.age_ns(now)
    }

    /// Did we see its beginning?
    pub fn age_is_exact(&self) -> bool {
        self.socket.birth().is_some()
    }

    /// How long it has been in its state at least.
    pub fn in_state_ns(&self, now: u64) -> Option<u64> {
        self.socket.in_state_ns(now)
    }

    /// The processes that hold it, with their descriptors, as far as is known.
    pub fn holders(&self) -> impl Iterator<Item = (u32, i32)> {
        self.socket.holders.iter().map(|it| (it.pid, it.fd))
    }

    /// Where it was opened, if somebody asked for stacks.
    pub fn opened(&self) -> Opened {
        self.socket.opened()
    }

    /// No event was lost that could concern it, or a snapshot has made up for that.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}
