//! What is known of sockets from before we looked: somebody looked then, and wrote it down.

use serde::{Deserialize, Serialize};

use super::{SocketTable, view::cookie};

/// Since when a socket is there, and as it is. Times are of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its cookie.
    pub cookie: u64,
    /// It was there at this time, and maybe before.
    pub born_ns: u64,
    /// It was in this state, by the kernel's number,
    pub state: u8,
    /// since this time, and maybe longer.
    pub since_ns: u64,
}

impl SocketTable {
    /// Those that were there before `old` and have a cookie.
    pub fn pasts(&self, old: u64) -> impl Iterator<Item = Past> {
        self.sockets.iter().filter_map(move |socket| {
            let born_ns = socket.born_ns().filter(|born| *born < old)?;
            Some(Past {
                cookie: cookie(socket.id())?,
                born_ns,
                state: socket.state as u8,
                since_ns: socket.state_since_ns().unwrap_or(born_ns),
            })
        })
    }

    /// Takes over what was known of a socket, if it is still there; is it?
    pub fn remember(&mut self, past: &Past) -> bool {
        let Some(socket) = self.sockets.get_mut(past.cookie) else {
            return false;
        };
        let born = socket
            .born_ns()
            .map_or(past.born_ns, |it| it.min(past.born_ns));
        let since = socket.state_since_ns();
        let same = socket.state as u8 == past.state;
        let since = match since {
            Some(since) if same => since.min(past.since_ns),
            Some(since) => since,
            None if same => past.since_ns,
            None => born,
        };
        socket.older_than(born, since);
        true
    }
}
