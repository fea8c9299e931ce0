//! What the kernel's bind buckets say of ports: one pass over the TCP sockets of a namespace, 0.9 µs
//! a socket.

use std::{
    fmt,
    io::{self, Read as _},
};

use hashbrown::HashSet;
use socktrace_common::config::PORT_WORDS;

use crate::probe::iterator::IteratorError;
use crate::probe::{
    iterator::{IteratorProgram, Over, PortBits},
    offsets::KernelTypes,
};

/// A multiple of a cookie's size, and more than the kernel writes at once (32 KiB).
const BUFFER: usize = 64 << 10;

/// The loaded iterator over TCP sockets, and memory for what it writes.
#[derive(Debug)]
pub struct Buckets {
    program: IteratorProgram,
    buffer: Vec<u8>,
}

/// What a pass found.
#[derive(Clone, PartialEq, Eq)]
pub struct Explicit {
    /// Ports that `connect()` does not share, a bit each: somebody uses them explicitly. Those of
    /// sockets that are bound and neither listen nor are connected are not among them: the
    /// kernel's iterator leaves such sockets out.
    pub ports: Box<PortBits>,
    /// Cookies of connections in `TIME_WAIT` that carried no timestamps; only of those that a dump
    /// has asked for before, for the others have none yet.
    pub without_timestamps: HashSet<u64>,
}

impl Buckets {
    /// Loads the iterator (5.9). It attaches no hook.
    pub fn new(types: &KernelTypes) -> Result<Self, IteratorError> {
        Ok(Self {
            program: IteratorProgram::load(types, Over::TcpSockets)?,
            buffer: vec![0; BUFFER],
        })
    }

    /// One pass over the sockets of the calling thread's network namespace.
    pub fn read(&mut self) -> io::Result<Explicit> {
        // An earlier pass may have ended early.
        self.program.take_blocked().map_err(io::Error::other)?;
        let mut file = self.program.open().map_err(io::Error::other)?;
        let mut without_timestamps = HashSet::new();
        let mut filled = 0;
        loop {
            match file.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                // The kernel pauses after a million sockets of which the program writes nothing.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let (cookies, rest) = self.buffer[..filled].as_chunks();
            without_timestamps.extend(cookies.iter().copied().map(u64::from_ne_bytes));
            // The beginning of a cookie whose end is still to come.
            let left = rest.len();
            self.buffer.copy_within(filled - left..filled, 0);
            filled = left;
        }
        without_timestamps.remove(&0);
        Ok(Explicit {
            ports: self.program.take_blocked().map_err(io::Error::other)?,
            without_timestamps,
        })
    }
}

impl Default for Explicit {
    /// Nothing is.
    fn default() -> Self {
        Self {
            ports: Box::new([0; PORT_WORDS as usize]),
            without_timestamps: HashSet::new(),
        }
    }
}

impl fmt::Debug for Explicit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: u32 = self.ports.iter().map(|word| word.count_ones()).sum();
        f.debug_struct("Explicit")
            .field("ports", &ports)
            .field("without_timestamps", &self.without_timestamps)
            .finish()
    }
}
