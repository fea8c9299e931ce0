//! What a row says of its socket.

use std::sync::Arc;

use super::{Endpoint, Family, Names, Ownership, Protocol, UnixName};
use crate::process::Process;

/// What identifies a socket, who owns it and where it points.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Its cookie.
    pub cookie: Option<u64>,
    /// Inode number in sockfs.
    pub inode: Option<u32>,
    /// Inode number of its network namespace.
    pub netns: Option<u32>,
    /// What kind of socket it is; `None` where there is none.
    pub protocol: Option<Protocol>,
    /// Address family.
    pub family: Option<Family>,
    /// Local address and port.
    pub local: Endpoint,
    /// Remote address and port.
    pub remote: Endpoint,
    /// What stands for addresses with Unix sockets; `None` where neither end has a name.
    pub names: Option<Arc<Names>>,
    /// The process that created or accepted it.
    pub owner: Option<Arc<Process>>,
    /// How the owner is known.
    pub ownership: Ownership,
    /// In this row it takes its part for the first time: it connects, was accepted, listens.
    pub takes_part: bool,
}

impl View {
    /// The socket's own name, of a Unix socket that has one.
    pub fn local_name(&self) -> Option<&UnixName> {
        self.names.as_ref()?.local.as_ref()
    }

    /// The name of its peer.
    pub fn remote_name(&self) -> Option<&UnixName> {
        self.names.as_ref()?.remote.as_ref()
    }

    /// Is it known where it is connected to?
    pub fn has_peer(&self) -> bool {
        self.remote != Endpoint::default() || self.remote_name().is_some()
    }

    /// Its names, to change them here only.
    pub fn names_mut(&mut self) -> &mut Names {
        Arc::make_mut(self.names.get_or_insert_default())
    }
}
