//! Where events come from: the kernel ([`ringbuf`]) or a file ([`recording`]); and what was there
//! before them ([`snapshot`]).

pub mod recording;
pub mod ringbuf;
pub mod snapshot;

use socktrace_common::socket::SocketInfo;

use crate::{
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
    /// A socket that was there first.
    Adopted(Adopted),
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
    pub holders: Vec<(u32, i32)>,
    /// Somebody listens on its port.
    pub served: bool,
}

/// What `/proc` said of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its number in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: Option<Comm>,
    /// The rest.
    pub details: Details,
}
