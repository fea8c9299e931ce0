//! Which event goes where.

use super::{Audience, SocketTable};
use crate::event::Event;

impl SocketTable {
    /// Takes in an event of a life that is told at once, when others have been told that came after
    /// it. Descriptors that are somebody else's by now stay so.
    pub fn apply_late(&mut self, event: &Event, audience: &mut impl Audience) {
        self.late = true;
        self.apply(event, audience);
        self.late = false;
    }

    /// Takes in one event and tells what changed.
    pub fn apply(&mut self, event: &Event, audience: &mut impl Audience) {
        match event {
            Event::Socket(event) => self.socket_created(event, audience),
            Event::Bind(event) => self.bound(event, audience),
            Event::Listen(event) => self.listening(event, audience),
            Event::Connect(event) => self.connected(event, audience),
            Event::Accept(event) => self.accepted(event, audience),
            Event::State(event) => self.state_changed(event, audience),
            Event::Close(event) => self.closed(event, audience),
            Event::Destroy(event) => self.destroyed(event, audience),
            Event::Process(event) => self.process_told(event),
            Event::Fork(event) => self.forked(event),
            Event::Exec(event) => self.executed(event, audience),
            Event::Exit(header) => self.exited(header, audience),
            Event::Descriptors(event) => self.descriptors_closed(event, audience),
            Event::Name(event) => self.named(event),
        }
    }
}
