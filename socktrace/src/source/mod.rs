//! Where events come from: the kernel ([`ringbuf`]) or a file ([`recording`]); and what was there
//! before them ([`snapshot`]).

pub mod recording;
pub mod ringbuf;
pub mod snapshot;

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
    /// A batch is over.
    Settle,
    /// What the kernel side counted so far.
    Counters(Counters),
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
