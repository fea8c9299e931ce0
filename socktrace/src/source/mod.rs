//! Where events come from: the kernel ([`ringbuf`]) or a file ([`recording`]); and what was there
//! before them ([`snapshot`]); and how full the machine is ([`machine`]).

mod backlog;
pub mod chunk;
pub mod feed;
pub mod machine;
pub mod recording;
pub mod ringbuf;
mod shelves;
pub mod snapshot;

use smallvec::SmallVec;
use socktrace_common::socket::SocketInfo;

use crate::{
    endpoint::UnixName,
    probe::counters::Counters,
    process::{Comm, Details},
};

/// What a source brings, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// A record of the kernel side, as it was written.
    Record(&'a [u8]),
    /// What `/proc` said of a process.
    Process(Described),
    /// A snapshot begins: `CLOCK_MONOTONIC`, nanoseconds.
    SnapshotBegins(u64),
    /// A socket that a snapshot found.
    Adopted(&'a Adopted),
    /// The snapshot has shown everything, or if not `whole` only what it could.
    SnapshotEnds {
        /// Whatever it did not show is not there.
        whole: bool,
    },
    /// A batch is over.
    Settle,
    /// What the kernel side counted so far.
    Counters(Counters),
}

/// A socket that a snapshot found.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// What the kernel says of it.
    pub socket: SocketInfo,
    /// Every process that holds it, and its descriptor there.
    pub holders: SmallVec<[(u32, i32); 1]>,
    /// Somebody listens on its port.
    pub served: bool,
    /// It was there at this time, and maybe before: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: u64,
    /// It has been in its state since this time, and maybe longer; likewise.
    pub state_since_ns: u64,
    /// It is a minisock, which keeps its port until then; likewise.
    pub until_ns: Option<u64>,
    /// What it is called, of a Unix socket that has a name.
    pub name: Option<UnixName>,
}

/// What `/proc` said of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its number in our pid namespace.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: Option<Comm>,
    /// The rest.
    pub details: Details,
}
