//! A life that was told at once, from its beginning to its end: most are. Its socket is gone when it
//! is heard of, so it gets no place and no holders here, just the rows of what happened to it.

use socktrace_common::{event::Header, socket::TcpState};

use super::{
    Audience, SocketTable, lifecycle::Transition, socket::Socket, teller::Teller, view::cookie,
};
use crate::{
    change::What,
    event::Announced,
    unfold::{Deed, Did, Life},
};

impl SocketTable {
    /// Takes in a life if all of it was told and nothing is known of it here; says whether. The rows,
    /// and all that stays, are those of [`Self::apply_late`] with each of its events. Each is handed over
    /// as it is made: there are ten of them, and to keep them would cost as much as to make them.
    pub fn apply_whole(&mut self, life: Life<'_>, audience: &mut impl Audience) -> bool {
        let id = life.id();
        let has_room = self.len() < self.most;
        if !life.is_whole() || !has_room || self.sockets.contains(id) || self.named.waits(id) {
            return false;
        }
        let mut socket = if life.is_of_older() {
            Socket::new(life.info())
        } else {
            Socket::born(life.info(), life.began_ns())
        };
        let mut teller = Teller::new(self.looks, audience);
        for deed in life.deeds() {
            self.happens(&mut socket, &deed, &mut teller);
        }
        self.is_over(id);
        true
    }

    /// One step of it.
    #[inline]
    fn happens(
        &mut self,
        socket: &mut Socket,
        deed: &Deed,
        teller: &mut Teller<'_, impl Audience>,
    ) {
        let (header, fd) = (&deed.header, deed.fd);
        let what = match deed.did {
            Did::Create { socket_type } => {
                socket.created(header, fd, self.running(header));
                What::Socket { socket_type }
            }
            Did::Connect { ret } => {
                let (process, before) = (self.running(header), socket.state);
                let established = before == TcpState::Established;
                let told = socket.connected(header, fd, ret, process, established, false);
                let Some(told) = told else { return };
                told.into()
            }
            Did::Accept { listener } => {
                let queued_ns = socket.accepted(header, fd, self.running(header));
                self.count_accept(header, listener);
                What::Accept {
                    queued_ns,
                    listener: cookie(listener),
                }
            }
            Did::Change(announced) => {
                return self.changes(socket, header, fd, &announced, teller);
            }
            Did::Close {
                by,
                references_left,
            } => What::closed(by, references_left),
            Did::End { .. } => return teller.tell_end(socket, header),
        };
        teller.tell(socket, header, Some(fd), what);
    }

    /// Its state changes.
    #[inline]
    fn changes(
        &mut self,
        socket: &mut Socket,
        header: &Header,
        connect_fd: i32,
        announced: &Announced,
        teller: &mut Teller<'_, impl Audience>,
    ) {
        let Some(transition) = Transition::of(announced) else {
            return;
        };
        socket.is_said_to_be(announced.old);
        if transition.old == TcpState::Close {
            let fd = (connect_fd >= 0).then_some(connect_fd);
            socket.own(self.running(header), fd);
        }
        teller.change(socket, header, connect_fd, announced, transition);
        if transition.new == TcpState::TimeWait && self.keeps_time_waits {
            let owner = socket.owner.clone();
            self.time_waits.begin(socket.info(), owner, header.mono_ns);
        }
    }
}
