//! `sock_diag`: the kernel's own lists of sockets, over netlink.
//!
//! Requests and constants are those of `netlink-packet-sock-diag` where it has them. Rows are read
//! here: its own types forget when a `TIME_WAIT` ends, stop at attribute 18, know neither packet
//! nor netlink sockets, and allocate for every attribute they do not know, of which each row has
//! two.

mod attributes;
mod inet;
mod other;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod unix;

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use self::{
    reply::{Part, Parts},
    request::Request,
};
use super::{Found, Query};

/// Room for what the kernel sends at once. It fills up to 32 KiB if the reader has room for that.
const BUFFER: usize = 64 << 10;

/// A netlink socket that answers for the network namespace in which it was opened, whoever asks.
#[derive(Debug)]
pub struct Diag {
    socket: Socket,
    netns: u32,
    sequence: u32,
}

/// Memory for replies, to be used again by the next dump of any namespace.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Rows that were handed over.
    pub rows: usize,
    /// Rows that made no sense, and were not.
    pub malformed: usize,
    /// The kernel says that its list changed in a way that may have made it miss some. Even
    /// without this a dump is not one moment: what comes and goes meanwhile may be in it or not,
    /// or twice.
    pub interrupted: bool,
}

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// The kernel has no such list.
    #[error("the kernel cannot list these sockets")]
    Unsupported,
    /// Anything else.
    #[error("sock_diag fails: {0}")]
    Io(#[from] io::Error),
}

impl Dumped {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            malformed: self.malformed + other.malformed,
            interrupted: self.interrupted || other.interrupted,
        }
    }
}

impl Diag {
    /// Opens a socket in the calling thread's network namespace, whose inode number is `netns`.
    pub fn open(netns: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        Ok(Self {
            socket,
            netns,
            sequence: 0,
        })
    }

    /// Asks, and hands over each row as it arrives; the rows are in no order.
    ///
    /// Nothing is kept: a socket that shows up twice is handed over twice, with the same cookie.
    pub fn dump(
        &mut self,
        query: Query,
        buffer: &mut Buffer,
        mut each: impl FnMut(Found),
    ) -> Result<Dumped, DiagError> {
        let mut sum = Dumped::default();
        let mut supported = false;
        for request in request::requests(query) {
            match self.run(&request, &mut buffer.0, &mut each) {
                Ok(dumped) => {
                    sum = sum.and(dumped);
                    supported = true;
                }
                // IPv6 may be missing where IPv4 is there.
                Err(DiagError::Unsupported) => {}
                Err(error) => return Err(error),
            }
        }
        supported.then_some(sum).ok_or(DiagError::Unsupported)
    }

    fn run(
        &mut self,
        request: &Request,
        buffer: &mut Vec<u8>,
        each: &mut impl FnMut(Found),
    ) -> Result<Dumped, DiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.bytes(self.sequence), 0)?;
        let mut sum = Dumped::default();
        // Read to its end whatever happens: until then the kernel takes no other request.
        loop {
            self.receive(buffer)?;
            for part in Parts::new(buffer, self.sequence) {
                match part {
                    Part::Row { bytes, interrupted } => {
                        sum.interrupted |= interrupted;
                        match request.decode(bytes, self.netns) {
                            Some(found) => {
                                sum.rows += 1;
                                each(found);
                            }
                            None => sum.malformed += 1,
                        }
                    }
                    Part::End { interrupted } => {
                        sum.interrupted |= interrupted;
                        return Ok(sum);
                    }
                    Part::Failed(errno) => return Err(refusal(errno)),
                    Part::Overrun => return Err(io::Error::other("rows were lost").into()),
                    // The end may have been in there: who waited for it would wait for ever.
                    Part::Malformed => {
                        let what = "the kernel's answer makes no sense";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what).into());
                    }
                }
            }
        }
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.reserve(BUFFER);
        loop {
            match self.socket.recv(buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The rows of an answer to a query, whoever gave it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn rows(query: Query, answer: &[u8], mut each: impl FnMut(Found)) {
    const SEQUENCE: u32 = 1;
    for request in request::requests(query) {
        for part in Parts::new(answer, SEQUENCE) {
            match part {
                Part::Row { bytes, .. } => {
                    request.decode(bytes, 1).into_iter().for_each(&mut each);
                }
                Part::Failed(errno) => drop(refusal(errno)),
                Part::End { .. } | Part::Overrun | Part::Malformed => {}
            }
        }
    }
}

/// What the kernel answers instead of a dump; `errno` is positive.
fn refusal(errno: i32) -> DiagError {
    use rustix::io::Errno;
    // A family without sock_diag is ENOENT; one of which the kernel knows nothing is EINVAL or
    // EAFNOSUPPORT, depending on its age.
    let unsupported = [
        Errno::NOENT,
        Errno::OPNOTSUPP,
        Errno::AFNOSUPPORT,
        Errno::INVAL,
        Errno::PROTONOSUPPORT,
    ];
    if unsupported
        .iter()
        .any(|error| error.raw_os_error() == errno)
    {
        DiagError::Unsupported
    } else {
        DiagError::Io(io::Error::from_raw_os_error(errno))
    }
}
