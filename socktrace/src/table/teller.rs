//! Tells what happened to one socket, row by row.

use smallvec::SmallVec;
use socktrace_common::event::{Header, STEPS};

use super::{Audience, Brief, Look, Looks, lifecycle::Transition, socket::Socket};
use crate::{
    change::{Change, Kind, What},
    event::Announced,
};

/// Tells rows of one socket to an audience that looks so closely. What was only looked at for its kind it tells
/// at its end.
pub(super) struct Teller<'a, A: Audience> {
    looks: Looks,
    audience: &'a mut A,
    /// The last one, but for the owner. What rows say of the socket is most of them, and does not change:
    /// where several are told, it is made once.
    row: Option<Change>,
    /// Those that are only looked at for their kind: as many as a life has.
    briefs: SmallVec<[Brief; STEPS]>,
}

impl<'a, A: Audience> Teller<'a, A> {
    pub(super) fn new(looks: Looks, audience: &'a mut A) -> Self {
        Self {
            looks,
            audience,
            row: None,
            briefs: SmallVec::new(),
        }
    }

    /// Tells a row, done by the running process. Between one and the next nothing of the socket changes that
    /// rows show, but that it gets an owner.
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
        match self.looks.at(protocol, &what) {
            Look::Full => {
                let row = about(&mut self.row, socket, what);
                row.mono_ns = header.mono_ns;
                row.socket.takes_part = takes_part;
                row.actor = (header.tgid != 0).then_some(header.tgid);
                row.tid = (header.tid != 0).then_some(header.tid);
                row.fd = fd.filter(|fd| *fd >= 0).or(socket.fd());
                // Lent: to count who else has it would cost as much as to make the rest of the row.
                row.socket.ownership = socket.ownership();
                row.socket.owner = socket.owner.take();
                self.audience.row(row);
                socket.owner = row.socket.owner.take();
            }
            Look::Kind => self.briefs.push(Brief::from(&what)),
            Look::None => {}
        }
    }

    /// Has the socket's state change, and tells the rows of that.
    #[inline]
    pub(super) fn change(
        &mut self,
        socket: &mut Socket,
        header: &Header,
        connect_fd: i32,
        announced: &Announced,
        transition: Transition,
    ) {
        let now = header.mono_ns;
        let in_old_ns = socket.changed(now, connect_fd, announced, transition);
        let (old, new, ends) = (transition.old, transition.new, transition.ends_connection());
        match self.looks.changes {
            Look::Kind if !ends => self.briefs.push(Brief {
                kind: Kind::State,
                left: in_old_ns.map(|ns| (old, ns)),
            }),
            Look::None if !ends => {}
            _ => {
                let what = What::State {
                    old,
                    new,
                    in_old_ns,
                    outcome: ends.then(|| socket.outcome(now, in_old_ns, transition)),
                    role: socket.role,
                };
                self.tell(socket, &of_caller(header, transition), None, what);
            }
        }
        if let Some(told) = socket.outcome_of_open(now, announced, transition) {
            self.tell(socket, &of_caller(header, transition), None, told.into());
        }
    }

    /// Tells the row of its end.
    pub(super) fn tell_end(&mut self, socket: &mut Socket, header: &Header) {
        let what = socket.destroyed(header.mono_ns);
        self.tell(socket, &of_nobody(header), None, what);
    }
}

impl<A: Audience> Drop for Teller<'_, A> {
    fn drop(&mut self) {
        if !self.briefs.is_empty() {
            self.audience.briefs(&self.briefs);
        }
    }
}

/// Only a call tells who made the change.
fn of_caller(header: &Header, transition: Transition) -> Header {
    if transition.by_caller() {
        *header
    } else {
        of_nobody(header)
    }
}

/// Who runs has nothing to do with it.
fn of_nobody(header: &Header) -> Header {
    Header {
        tgid: 0,
        tid: 0,
        ..*header
    }
}

/// A row of what happened to the socket, without its owner; the rest of it is the caller's.
fn about<'r>(row: &'r mut Option<Change>, socket: &Socket, what: What) -> &'r mut Change {
    match row {
        Some(row) => {
            row.what = what;
            row
        }
        None => row.insert(Change {
            mono_ns: 0,
            socket: socket.anonymous(),
            actor: None,
            tid: None,
            fd: None,
            what,
        }),
    }
}
