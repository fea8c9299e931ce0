//! Names of Unix sockets: told just before the call that makes them matter.

use hashbrown::HashMap;
use socktrace_common::{
    event::{NameEvent, NameOf},
    socket::SocketInfo,
};

use super::SocketTable;
use crate::change::UnixName;

/// Names whose calls have not been told yet: one for each CPU, as nothing comes between the two
/// there, and those whose call found no room in the ring.
#[derive(Debug, Default)]
pub(super) struct Named(HashMap<u64, UnixName>);

/// More CPUs than Linux knows.
const MOST: usize = 16_384;

impl Named {
    fn insert(&mut self, id: u64, name: UnixName) {
        if self.0.len() >= MOST {
            // Of lost calls, all but a few: a name is missing then, not wrong.
            self.0.clear();
        }
        self.0.insert(id, name);
    }

    /// Is there one for this socket?
    pub(super) fn waits(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }
}

impl SocketTable {
    pub(super) fn named(&mut self, event: &NameEvent) {
        let told = event.name.get(..usize::from(event.length));
        let Some(name) = told.and_then(UnixName::new) else {
            return;
        };
        match NameOf::from_number(event.of) {
            Some(NameOf::Local) => {
                if let Some(socket) = self.socket(&event.socket) {
                    socket.names_mut().local = Some(name);
                }
            }
            Some(NameOf::Remote | NameOf::Asked) => self.named.insert(event.socket.id, name),
            None => {}
        }
    }

    /// The name that came with the call on this socket.
    pub(super) fn name_for(&mut self, info: &SocketInfo) -> Option<UnixName> {
        self.named.0.remove(&info.id)
    }
}
