//! Which event goes where.

use super::SocketTable;
use crate::{change::Change, event::Event};

impl SocketTable {
    /// Takes in an event of a life that is told at once, when others have been told that came after
    /// it. Descriptors that are somebody else's by now stay so.
    pub fn apply_late(&mut self, event: &Event, changes: &mut Vec<Change>) {
        self.late = true;
        self.apply(event, changes);
        self.late = false;
    }

    /// Takes in one event and appends what changed.
    pub fn apply(&mut self, event: &Event, changes: &mut Vec<Change>) {
        match event {
            Event::Socket(event) => self.socket_created(event, changes),
            Event::Bind(event) => self.bound(event, changes),
            Event::Listen(event) => self.listening(event, changes),
            Event::Connect(event) => self.connected(event, changes),
            Event::Accept(event) => self.accepted(event, changes),
            Event::State(event) => self.state_changed(event, changes),
            Event::Close(event) => self.closed(event, changes),
            Event::Destroy(event) => self.destroyed(event, changes),
            Event::Process(event) => self.process_told(event),
            Event::Fork(event) => self.forked(event),
            Event::Exec(event) => self.executed(event, changes),
            Event::Exit(header) => self.exited(header, changes),
            Event::Descriptors(event) => self.descriptors_closed(event, changes),
            Event::Name(event) => self.named(event),
        }
    }
}
