//! Sockets that were there before any event could tell of them.

use socktrace_common::socket::TcpState::Listen;

use super::{SocketTable, socket::Socket};
use crate::{change::Role, source::Adopted};

impl SocketTable {
    /// Takes in a socket that a snapshot found. What events told of it already stands.
    ///
    /// Call it before the events that came while the snapshot was taken: they then find the socket
    /// as it was, whether they are older or newer than its row.
    pub fn adopt(&mut self, adopted: &Adopted) {
        let id = adopted.socket.id;
        if id == 0 || self.sockets.contains_key(&id) {
            return;
        }
        let mut socket = Socket::new(&adopted.socket);
        socket.role = match (socket.state, adopted.served) {
            (Listen, _) => Role::Listener,
            (_, true) => Role::Server,
            (_, false) => Role::Unknown,
        };
        if let Some(&(pid, fd)) = adopted.holders.first() {
            socket.adopt(&self.processes.get(pid), fd);
        }
        self.sockets.insert(id, socket);
        for &(pid, fd) in &adopted.holders {
            self.hold(pid, fd, id);
        }
    }
}
