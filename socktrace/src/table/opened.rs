//! Where a socket was opened: which call made it, and from where in its program.

use socktrace_common::{
    event::Header,
    stack::{FIRST_KEY, NoStack},
};

use super::{SocketTable, socket::Socket};

/// Stands for a stack of a program that the process does not run any more: its addresses would be
/// looked up in another one.
const FORMER_PROGRAM: u32 = FIRST_KEY - 1;

/// The call that made a socket, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// It was there before we looked, or nobody asked.
    #[default]
    Unseen,
    /// `socket()`.
    Socket,
    /// `connect()`, of one that was there before.
    Connect,
    /// `accept()` or `accept4()`.
    Accept,
}

/// Where a socket was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Opened {
    /// As records have it, see [`Header::stack`].
    stack: u32,
    /// Which call it was.
    pub call: Call,
}

/// What is known of where a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The call was not seen.
    Unseen,
    /// Its stack has this key.
    Stack(u32),
    /// Its stack was not kept.
    Missing(NoStack),
    /// By a program that the process ran before.
    FormerProgram,
}

impl Opened {
    /// What is known of the place. Numbers that no record should have say nothing.
    pub fn place(self) -> Place {
        match self.stack {
            FORMER_PROGRAM => Place::FormerProgram,
            key if key >= FIRST_KEY => Place::Stack(key),
            number => NoStack::from_number(number).map_or(Place::Unseen, Place::Missing),
        }
    }
}

impl Socket {
    /// It was opened by this call of the running process, which owns it. What a `connect()` shows is
    /// of use where the socket itself was there before.
    pub(super) fn open_by(&mut self, header: &Header, call: Call) {
        let is_owner = self.owner.as_ref().is_some_and(|it| it.pid == header.tgid);
        let known = call == Call::Connect && self.opened_by != Call::Unseen;
        if header.stack != 0 && is_owner && !known {
            (self.stack, self.opened_by) = (header.stack, call);
        }
    }

    pub(super) fn opened(&self) -> Opened {
        Opened {
            stack: self.stack,
            call: self.opened_by,
        }
    }
}

impl SocketTable {
    /// The process runs another program: of what the former one opened, the place says nothing now.
    pub(super) fn forget_places(&mut self, pid: u32) {
        for id in self.holders.of(pid) {
            if let Some(socket) = self.sockets.get_mut(id)
                && socket.owner.as_ref().is_some_and(|it| it.pid == pid)
                && matches!(socket.opened().place(), Place::Stack(_))
            {
                socket.stack = FORMER_PROGRAM;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use socktrace_common::socket::SocketInfo;
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::process::Process;

    const KEY: u32 = 0x1234;

    fn header(tgid: u32, stack: u32) -> Header {
        Header {
            tgid,
            stack,
            ..Header::new_zeroed()
        }
    }

    fn socket() -> Socket {
        let mut socket = Socket::new(&SocketInfo::new_zeroed());
        socket.own(Some(&Arc::new(Process::new(7))), Some(3));
        socket
    }

    #[test]
    fn who_creates_or_accepts_says_where_and_a_connect_only_where_nobody_did() {
        let mut socket = socket();
        socket.open_by(&header(7, KEY), Call::Connect);
        assert_eq!(socket.opened().call, Call::Connect);
        assert_eq!(socket.opened().place(), Place::Stack(KEY));
        socket.open_by(&header(7, KEY + 1), Call::Socket);
        socket.open_by(&header(7, KEY + 2), Call::Connect);
        assert_eq!(socket.opened().call, Call::Socket);
        assert_eq!(socket.opened().place(), Place::Stack(KEY + 1));
    }

    #[test]
    fn what_nobody_asked_for_or_another_process_did_says_nothing() {
        let mut socket = socket();
        socket.open_by(&header(7, 0), Call::Socket);
        socket.open_by(&header(8, KEY), Call::Accept);
        assert_eq!(socket.opened(), Opened::default());
        assert_eq!(socket.opened().place(), Place::Unseen);
    }

    #[test]
    fn why_there_is_no_stack_is_kept() {
        for reason in NoStack::ALL {
            let mut socket = socket();
            socket.open_by(&header(7, reason as u32), Call::Socket);
            assert_eq!(socket.opened().place(), Place::Missing(reason));
        }
        // Of a recording, or of a later version.
        let mut socket = socket();
        socket.open_by(&header(7, 9), Call::Socket);
        assert_eq!(socket.opened().place(), Place::Unseen);
    }
}
