//! A life that was told at once, from its beginning to its end: most are. Its socket is gone when it
//! is heard of, so it gets no place and no holders here, just the rows of what happened to it.

use socktrace_common::socket::TcpState;

use super::{Audience, SocketTable, lifecycle::Transition, socket::Socket, view::cookie};
use crate::{change::What, event::Event, unfold::Life};

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
        for event in life.events(0) {
            self.happens(&mut socket, &event, audience);
        }
        self.is_over(id);
        true
    }

    /// One step of it. The record says the same of the socket at all of them, but for its state.
    #[expect(clippy::inline_always, reason = "which of them it is was just decided")]
    #[inline(always)]
    fn happens(&mut self, socket: &mut Socket, event: &Event, audience: &mut impl Audience) {
        let header = event.header();
        let (fd, what) = match event {
            Event::Socket(event) => {
                socket.created(event, self.running(header));
                let what = What::Socket {
                    socket_type: event.socket_type,
                };
                (event.fd, what)
            }
            Event::Connect(event) => {
                let established = socket.state == TcpState::Established;
                let told = socket.connected(event, self.running(header), established, false);
                let Some(told) = told else { return };
                (event.fd, told.into())
            }
            Event::Accept(event) => {
                let queued_ns = socket.accepted(event, self.running(header));
                self.count_accept(header, event.listener);
                let what = What::Accept {
                    queued_ns,
                    listener: cookie(event.listener),
                };
                (event.fd, what)
            }
            Event::State(event) => {
                let Some(transition) = Transition::of(event) else {
                    return;
                };
                socket.is_said_to_be(event.socket.state);
                if transition.old == TcpState::Close {
                    let fd = (event.connect_fd >= 0).then_some(event.connect_fd);
                    socket.own(self.running(header), fd);
                }
                let told = socket.changed(event, transition);
                if transition.new == TcpState::TimeWait && self.keeps_time_waits {
                    self.time_waits
                        .begin(socket.info(), socket.owner.clone(), header.mono_ns);
                }
                return socket.tell_state(header, transition, told, self.looks, audience);
            }
            Event::Close(event) => (event.fd, event.into()),
            Event::Destroy(event) => {
                return socket.tell_end(event, self.looks, audience);
            }
            _ => return,
        };
        socket.tell(header, Some(fd), what, self.looks, audience);
    }
}
