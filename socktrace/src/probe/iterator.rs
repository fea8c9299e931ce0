//! Loads one of the iterators, and nothing else of the object.

use std::fs::File;

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, MapError},
    programs::{Iter, ProgramError, links::LinkError},
};
use socktrace_common::config::{Config, PORT_WORDS};
use zerocopy::FromZeros as _;

use super::{
    environment::pid_namespace,
    object::{Fit, Part, object},
    offsets::KernelTypes,
};

/// The map in which the iterator over TCP sockets notes ports.
const BLOCKED: &str = "BLOCKED";

/// Maps that the programs do not use, and that need not be as large as the hooks want them.
const UNUSED: [&str; 9] = [
    "EVENTS",
    "PIDS",
    "PROCESSES",
    "SOCKETS",
    "LISTENERS",
    "PORTS",
    "IDENTITIES",
    "ACCEPTING",
    "CLOSING",
];

/// A bit for each port.
pub type PortBits = [u64; PORT_WORDS as usize];

/// What an iterator goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The open files of all processes.
    OpenFiles,
    /// The TCP sockets of one network namespace.
    TcpSockets,
}

/// Why the kernel's iterator cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IteratorError {
    /// The object does not load.
    #[error("the kernel refuses the object: {0}")]
    Object(#[from] EbpfError),
    /// The program does not load.
    #[error("the kernel refuses the iterator: {0}")]
    Program(#[from] ProgramError),
    /// The program cannot be run.
    #[error("the iterator cannot be opened: {0}")]
    Link(#[from] LinkError),
    /// The map in which it notes ports cannot be used.
    #[error("the iterator's map cannot be used: {0}")]
    Map(#[from] MapError),
    /// The object is another one.
    #[error("the object has no such iterator")]
    Absent,
}

/// An iterator, loaded. Nothing is attached: it runs when its file is read.
#[derive(Debug)]
pub struct IteratorProgram {
    ebpf: Ebpf,
    over: Over,
}

impl Over {
    /// Name of the program in the object.
    fn program(self) -> &'static str {
        match self {
            Self::OpenFiles => "task_file",
            Self::TcpSockets => "tcp_buckets",
        }
    }

    /// The section of the object that has nothing but this program.
    fn section(self) -> &'static str {
        match self {
            Self::OpenFiles => "iter/task_file",
            Self::TcpSockets => "iter/tcp",
        }
    }

    /// The kernel's name for it.
    fn kind(self) -> &'static str {
        match self {
            Self::OpenFiles => "task_file",
            Self::TcpSockets => "tcp",
        }
    }
}

impl IteratorProgram {
    /// Loads the program with what `types` says of the running kernel.
    pub fn load(types: &KernelTypes, over: Over) -> Result<Self, IteratorError> {
        let fit = Fit {
            helpers: types.helpers,
            cast: types.cast,
            offsets: types.offsets,
            config: Config {
                flags: types.helpers,
                pid_namespace: pid_namespace(),
                ..Config::new_zeroed()
            },
        };
        let btf = Btf::from_sys_fs().map_err(EbpfError::from)?;
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&btf));
        for map in UNUSED {
            // A page: the least for a ring buffer, and little for the others.
            loader.map_max_entries(map, 4096);
        }
        let part = Part::Iterator(over.section());
        let mut loaded = Self {
            ebpf: loader.load(&object(part, &fit))?,
            over,
        };
        loaded.program()?.load(over.kind(), &btf)?;
        Ok(loaded)
    }

    /// A file from which one pass is read: as `HolderRecord`s over open files; over TCP sockets,
    /// those of the calling thread's network namespace, as cookies.
    pub fn open(&mut self) -> Result<File, IteratorError> {
        let program = self.program()?;
        let link = program.attach()?;
        Ok(program.take_link(link)?.into_file()?)
    }

    /// The ports that were noted since the last time; they are noted while the file is read.
    pub fn take_blocked(&mut self) -> Result<Box<PortBits>, IteratorError> {
        let map = self.ebpf.map_mut(BLOCKED).ok_or(IteratorError::Absent)?;
        let mut map: Array<_, PortBits> = Array::try_from(map)?;
        let bits = Box::new(map.get(&0, 0)?);
        map.set(0, [0; PORT_WORDS as usize], 0)?;
        Ok(bits)
    }

    fn program(&mut self) -> Result<&mut Iter, IteratorError> {
        let program = self.ebpf.program_mut(self.over.program());
        Ok(program.ok_or(IteratorError::Absent)?.try_into()?)
    }
}
