//! The kernel's iterator over open files: one pass over every process, and no name is looked up.

use std::io::{self, Read as _};

use socktrace_common::holder::{HOLDS_PIPE, HolderRecord, MODE_READ, MODE_WRITE};
use zerocopy::FromBytes as _;

use super::{Held, Holder, Open, Walked};
pub use crate::probe::iterator::IteratorError;
use crate::probe::{
    iterator::{IteratorProgram, Over},
    offsets::KernelTypes,
};

/// More than the kernel writes at once (32 KiB).
const BUFFER: usize = 64 << 10;

/// The loaded program, and memory for what it writes.
#[derive(Debug)]
pub(super) struct TaskFile {
    program: IteratorProgram,
    buffer: Vec<u8>,
}

impl TaskFile {
    pub(super) fn load(types: &KernelTypes) -> Result<Self, IteratorError> {
        Ok(Self {
            program: IteratorProgram::load(types, Over::OpenFiles)?,
            buffer: vec![0; BUFFER],
        })
    }

    pub(super) fn each(&mut self, mut each: impl FnMut(Holder)) -> io::Result<Walked> {
        let mut file = self.program.open().map_err(io::Error::other)?;
        let mut walked = Walked::default();
        let mut filled = 0;
        loop {
            match file.read(&mut self.buffer[filled..]) {
                Ok(0) => return Ok(walked),
                Ok(length) => filled += length,
                // The kernel pauses after a million files of which the program wants none.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut rest = &self.buffer[..filled];
            while let Ok((record, after)) = HolderRecord::read_from_prefix(rest) {
                walked.rows += 1;
                each(holder(&record));
                rest = after;
            }
            // The beginning of a record whose end is still to come.
            let left = rest.len();
            self.buffer.copy_within(filled - left..filled, 0);
            filled = left;
        }
    }
}

fn holder(record: &HolderRecord) -> Holder {
    let held = if record.kind == HOLDS_PIPE {
        Held::Pipe {
            reads: record.mode & MODE_READ != 0,
            writes: record.mode & MODE_WRITE != 0,
        }
    } else {
        Held::Socket(Some(Open {
            cookie: (record.cookie != 0).then_some(record.cookie),
            netns: record.netns,
            proto: record.proto,
            family: record.family,
            socket_type: record.socket_type,
            state: record.state,
            shutdown: record.shutdown,
            lport: (record.lport != 0).then_some(record.lport),
        }))
    };
    Holder {
        pid: record.tgid,
        start_ns: Some(record.start_ns),
        fd: record.fd,
        inode: record.inode,
        held,
    }
}
