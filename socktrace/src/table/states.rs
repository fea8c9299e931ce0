//! State changes and ends, which the kernel announces under whoever it interrupted.

use socktrace_common::{
    event::{DestroyEvent, StateEvent},
    socket::TcpState::{self, Close},
};

use super::{Audience, SocketTable, lifecycle::Transition, teller::Teller};
use crate::event::Announced;

impl SocketTable {
    pub(super) fn state_changed(&mut self, event: &StateEvent, audience: &mut impl Audience) {
        let (header, info) = (&event.header, &event.socket);
        let announced = Announced::from(event);
        let Some(transition) = Transition::of(&announced) else {
            return;
        };
        if transition.begins_child() {
            self.begin(info, header.mono_ns);
        }
        let calls = transition.old == Close;
        if info.id == 0 && (calls || transition.begins_child()) {
            // A change of state asks for an identity, so there was no room for one in the kernel.
            self.untracked += 1;
        }
        let process = if calls {
            self.running(header).cloned()
        } else {
            None
        };
        let (looks, keeps_time_waits) = (self.looks, self.keeps_time_waits);
        let Some(socket) = self.socket(info) else {
            return;
        };
        if calls {
            let fd = (event.connect_fd >= 0).then_some(event.connect_fd);
            socket.own(process.as_ref(), fd);
        }
        let mut teller = Teller::new(looks, audience);
        teller.change(socket, header, event.connect_fd, &announced, transition);
        if transition.new == TcpState::TimeWait && keeps_time_waits {
            let (info, owner) = (*socket.info(), socket.owner.clone());
            self.time_waits.begin(&info, owner, header.mono_ns);
        }
    }

    pub(super) fn destroyed(&mut self, event: &DestroyEvent, audience: &mut impl Audience) {
        let (info, looks) = (&event.socket, self.looks);
        if let Some(socket) = self.socket(info) {
            let mut teller = Teller::new(looks, audience);
            teller.tell_end(socket, &event.header);
            self.drop_socket(info.id);
        }
    }
}
