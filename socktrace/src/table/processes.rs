//! The processes that own or hold sockets.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::process::{Comm, Details, Process};

/// Processes by their number. One that has exited is forgotten here, not by the sockets it owns.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: HashMap<u32, Arc<Process>>,
}

impl Processes {
    /// The process with this number, made on the spot if nobody told of it.
    pub(super) fn get(&mut self, pid: u32) -> Arc<Process> {
        Arc::clone(self.by_pid.entry(pid).or_insert_with(|| {
            Arc::new(Process {
                pid,
                comm: None,
                details: Details::default(),
            })
        }))
    }

    /// The process with this number, if anybody told of it.
    pub(super) fn known(&self, pid: u32) -> Option<Arc<Process>> {
        self.by_pid.get(&pid).cloned()
    }

    /// Has anybody told of it?
    pub(super) fn is_known(&self, pid: u32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// A process begins, or is told of; whatever had its number before is another.
    pub(super) fn begin(&mut self, pid: u32, comm: Comm) {
        let process = Process {
            pid,
            comm: Some(comm),
            details: Details::default(),
        };
        self.by_pid.insert(pid, Arc::new(process));
    }

    /// A process changes its name.
    pub(super) fn rename(&mut self, pid: u32, comm: Comm) -> Arc<Process> {
        let mut process = Process::clone(&self.get(pid));
        process.comm = Some(comm);
        self.replace(process)
    }

    /// What `/proc` says of it, and its name if the kernel side did not tell.
    pub(super) fn describe(
        &mut self,
        pid: u32,
        comm: Option<Comm>,
        details: Details,
    ) -> Arc<Process> {
        let mut process = Process::clone(&self.get(pid));
        process.comm = process.comm.or(comm);
        process.details = details;
        self.replace(process)
    }

    pub(super) fn forget(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    fn replace(&mut self, process: Process) -> Arc<Process> {
        let pid = process.pid;
        let process = Arc::new(process);
        self.by_pid.insert(pid, Arc::clone(&process));
        process
    }
}
