//! Loads the iterator over open files, and nothing else of the object.

use std::fs::File;

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    programs::{Iter, ProgramError, links::LinkError},
};
use socktrace_common::config::Config;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{attach::OBJECT, environment::pid_namespace, offsets::KernelTypes};

/// Name of the program in the object.
const TASK_FILE: &str = "task_file";

/// Maps that the program does not use, and that need not be as large as the hooks want them.
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

/// Why the kernel's iterator cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IteratorError {
    /// The object does not load.
    #[error("the kernel refuses the object: {0}")]
    Object(#[from] EbpfError),
    /// The program does not load.
    #[error("the kernel refuses the iterator over open files: {0}")]
    Program(#[from] ProgramError),
    /// The program cannot be run.
    #[error("the iterator over open files cannot be opened: {0}")]
    Link(#[from] LinkError),
    /// The object is another one.
    #[error("the object has no iterator over open files")]
    Absent,
}

/// The program `task_file`, loaded. Nothing is attached: it runs when its file is read.
#[derive(Debug)]
pub struct TaskFileProgram {
    ebpf: Ebpf,
}

impl TaskFileProgram {
    /// Loads the program with what `types` says of the running kernel.
    pub fn load(types: &KernelTypes) -> Result<Self, IteratorError> {
        let config = Config {
            flags: types.helpers,
            pid_namespace: pid_namespace(),
            ..Config::new_zeroed()
        };
        let btf = Btf::from_sys_fs().map_err(EbpfError::from)?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&btf))
            .override_global("CONFIG", config.as_bytes(), true)
            .override_global("OFFSETS", types.offsets.as_bytes(), true);
        for map in UNUSED {
            // A page: the least for a ring buffer, and little for the others.
            loader.map_max_entries(map, 4096);
        }
        let mut loaded = Self {
            ebpf: loader.load(OBJECT)?,
        };
        loaded.program()?.load(TASK_FILE, &btf)?;
        Ok(loaded)
    }

    /// A file from which one pass over all open files is read, as `HolderRecord`s.
    pub fn open(&mut self) -> Result<File, IteratorError> {
        let program = self.program()?;
        let link = program.attach()?;
        Ok(program.take_link(link)?.into_file()?)
    }

    fn program(&mut self) -> Result<&mut Iter, IteratorError> {
        let program = self.ebpf.program_mut(TASK_FILE);
        Ok(program.ok_or(IteratorError::Absent)?.try_into()?)
    }
}
