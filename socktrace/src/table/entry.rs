//! A socket of the table, for those who look at it.

use socktrace_common::socket::{SocketInfo, TcpState};

use super::{SocketTable, socket::Socket};
use crate::change::{Role, View};

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

    /// No event was lost that could concern it, or a snapshot has made up for that.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}
