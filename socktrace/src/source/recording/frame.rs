//! Bodies that are JSON. What is added later has a default, so that older recordings can be read.

use serde::{Deserialize, Serialize};
use socktrace_common::socket::SocketInfo;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    endpoint::UnixName,
    process::{Comm, Details},
    source::{Adopted, Described},
};

/// What is said of a process, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct ProcessFrame {
    pid: u32,
    comm: Option<Vec<u8>>,
    #[serde(flatten)]
    details: Details,
}

/// What a snapshot says of a socket, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct AdoptedFrame {
    socket: Vec<u8>,
    holders: Vec<(u32, i32)>,
    served: bool,
    #[serde(default)]
    born_ns: u64,
    #[serde(default)]
    state_since_ns: u64,
    #[serde(default)]
    until_ns: Option<u64>,
    /// As [`UnixName::bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Vec<u8>>,
}

impl ProcessFrame {
    pub(super) fn new(described: &Described) -> Self {
        Self {
            pid: described.pid,
            comm: described.comm.map(|comm| comm.as_bytes().to_vec()),
            details: described.details.clone(),
        }
    }

    pub(super) fn described(self) -> Described {
        Described {
            pid: self.pid,
            comm: self.comm.as_deref().map(Comm::from),
            details: self.details,
        }
    }
}

impl AdoptedFrame {
    pub(super) fn new(adopted: &Adopted) -> Self {
        Self {
            socket: adopted.socket.as_bytes().to_vec(),
            holders: adopted.holders.to_vec(),
            served: adopted.served,
            born_ns: adopted.born_ns,
            state_since_ns: adopted.state_since_ns,
            until_ns: adopted.until_ns,
            name: adopted.name.as_ref().map(UnixName::bytes),
        }
    }

    /// `None` if the socket is none.
    pub(super) fn adopted(self) -> Option<Adopted> {
        Some(Adopted {
            socket: SocketInfo::read_from_bytes(&self.socket).ok()?,
            holders: self.holders.into(),
            served: self.served,
            born_ns: self.born_ns,
            state_since_ns: self.state_since_ns,
            until_ns: self.until_ns,
            name: self.name.as_deref().and_then(UnixName::new),
        })
    }
}
