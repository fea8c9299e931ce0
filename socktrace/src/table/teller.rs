//! Tells what happened to one socket, row by row.

use socktrace_common::event::Header;

use super::{Audience, Look, Looks, connect::Told, lifecycle::Transition, socket::Socket};
use crate::change::{Change, What};

/// Tells rows of one socket to an audience that looks so closely.
pub(super) struct Teller<'a, A> {
    looks: Looks,
    audience: &'a mut A,
    /// The last one. What rows say of the socket is most of them, and hardly changes: where several are
    /// told, it is made once.
    row: Option<Change>,
}

impl<'a, A: Audience> Teller<'a, A> {
    pub(super) fn new(looks: Looks, audience: &'a mut A) -> Self {
        Self {
            looks,
            audience,
            row: None,
        }
    }

    /// Tells a row, done by the running process. In between nothing of the socket may have changed that a
    /// view shows, but that it got an owner.
    #[inline]
    pub(super) fn tell(
        &mut self,
        socket: &mut Socket,
        header: &Header,
        fd: Option<i32>,
        what: What,
    ) {
        let takes_part = what.takes_part() && socket.takes_part();
        let protocol = socket.protocol();
        match (self.looks)(protocol, &what) {
            Look::Full => {
                let row = about(&mut self.row, socket, what);
                row.mono_ns = header.mono_ns;
                row.socket.takes_part = takes_part;
                row.actor = (header.tgid != 0).then_some(header.tgid);
                row.tid = (header.tid != 0).then_some(header.tid);
                row.fd = fd.filter(|fd| *fd >= 0).or(socket.fd());
                self.audience.row(row);
            }
            Look::Kind => self.audience.kind(header.mono_ns, protocol, &what),
            Look::None => {}
        }
    }

    /// Tells the rows of a change of state.
    #[inline]
    pub(super) fn tell_state(
        &mut self,
        socket: &mut Socket,
        header: &Header,
        transition: Transition,
        (what, told): (What, Option<Told>),
    ) {
        let mut header = *header;
        if !transition.by_caller() {
            (header.tgid, header.tid) = (0, 0);
        }
        self.tell(socket, &header, None, what);
        if let Some(told) = told {
            self.tell(socket, &header, None, told.into());
        }
    }

    /// Tells the row of its end.
    pub(super) fn tell_end(&mut self, socket: &mut Socket, header: &Header) {
        let header = Header {
            tgid: 0,
            tid: 0,
            ..*header
        };
        let what = socket.destroyed(header.mono_ns);
        self.tell(socket, &header, None, what);
    }
}

/// A row of what happened to the socket; the rest of it is the caller's.
fn about<'r>(row: &'r mut Option<Change>, socket: &Socket, what: What) -> &'r mut Change {
    let Some(row) = row else {
        return row.insert(Change {
            mono_ns: 0,
            socket: socket.view(),
            actor: None,
            tid: None,
            fd: None,
            what,
        });
    };
    row.what = what;
    if row.socket.owner.is_none() && socket.owner.is_some() {
        (row.socket.owner, row.socket.ownership) = socket.ownership();
    }
    row
}
