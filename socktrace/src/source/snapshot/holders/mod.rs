//! Who holds which socket or pipe: every descriptor of every process.

mod iterator;
mod proc;

use std::io;

pub use self::iterator::IteratorError;
use self::iterator::TaskFile;
use super::Lead;
use crate::probe::offsets::KernelTypes;

/// One descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process that has it: its number in our pid namespace, or with the fallback in that of
    /// `/proc`.
    pub pid: u32,
    /// When that process started: `CLOCK_BOOTTIME`, nanoseconds. `/proc` is not asked. With it a
    /// process that got another's number is told apart.
    pub start_ns: Option<u64>,
    /// Its number there.
    pub fd: u32,
    /// Inode number in sockfs or pipefs.
    pub inode: u32,
    /// What it refers to.
    pub held: Held,
}

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A socket, and what the kernel says of it; `/proc` says nothing.
    Socket(Option<Open>),
    /// An end of an anonymous pipe.
    Pipe {
        /// It can be read from.
        reads: bool,
        /// It can be written to. Both: the pipe was opened again through `/proc`.
        writes: bool,
    },
}

/// An open socket, whether or not any list has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its cookie; `None` before 5.12.
    pub cookie: Option<u64>,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// `IPPROTO_*`.
    pub proto: u16,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub socket_type: u16,
    /// Number of its TCP state; other protocols use some of them too.
    pub state: u8,
    /// Which directions are shut down: `RCV_SHUTDOWN` (1), `SEND_SHUTDOWN` (2).
    pub shutdown: u8,
    /// Local port; `None` if it is not bound, and outside IPv4 and IPv6.
    pub lport: Option<u16>,
}

impl Open {
    /// Is it a raw socket over IPv4 or IPv6? Its protocol is what it takes, and says nothing.
    pub fn is_raw(&self) -> bool {
        const SOCK_RAW: u16 = 3;
        const AF_INET: u16 = 2;
        const AF_INET6: u16 = 10;
        self.socket_type == SOCK_RAW && matches!(self.family, AF_INET | AF_INET6)
    }
}

/// A way to see who holds what.
#[derive(Debug)]
pub struct Holders {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Iterator(TaskFile),
    Proc(String),
}

/// How a walk went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Descriptors that were handed over.
    pub rows: usize,
    /// Processes whose descriptors could not be read, for want of `CAP_SYS_PTRACE`.
    pub unreadable: usize,
}

impl Holder {
    /// The socket as a way into its network namespace, where that is known.
    pub fn lead(&self) -> Option<Lead> {
        match self.held {
            Held::Socket(Some(open)) => Some(Lead {
                netns: open.netns,
                pid: self.pid,
                fd: self.fd,
            }),
            Held::Socket(None) | Held::Pipe { .. } => None,
        }
    }
}

impl Holders {
    /// The kernel's iterator over open files, where it can be had, else `/proc`. Attaches no hook.
    pub fn new(types: &KernelTypes) -> Self {
        let way = match TaskFile::load(types) {
            Ok(iterator) => Way::Iterator(iterator),
            Err(error) => Way::Proc(error.to_string()),
        };
        Self { way }
    }

    /// `/proc`, which takes ten times as long.
    pub fn from_proc() -> Self {
        Self {
            way: Way::Proc("it was asked for".to_owned()),
        }
    }

    /// Why it is `/proc`, if it is.
    pub fn fallback(&self) -> Option<&str> {
        match &self.way {
            Way::Iterator(_) => None,
            Way::Proc(reason) => Some(reason),
        }
    }

    /// Hands over every descriptor of a socket or an anonymous pipe, process by process.
    ///
    /// A process whose main thread has ended shows its descriptors once for each other thread.
    pub fn each(&mut self, each: impl FnMut(Holder)) -> io::Result<Walked> {
        match &mut self.way {
            Way::Iterator(iterator) => iterator.each(each),
            Way::Proc(_) => proc::each(each),
        }
    }
}
