//! The processes that own or hold sockets.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::process::{Comm, Details, Process};

/// Processes by their number. One that has exited is forgotten here, not by the sockets it owns.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: HashMap<u32, Arc<Process>>,
    /// Those that have run another program since they were described.
    changed: HashSet<u32>,
    /// Those that have exited not long ago, with the time, the last at the end; and their order.
    gone: HashMap<u32, Exits>,
    exits: VecDeque<(u64, u32)>,
    /// Who was asked for last, with the number if it was nobody else's lately: a process does several
    /// things in a row.
    last: Option<(Option<u32>, Arc<Process>)>,
}

/// Those that had a number, and when they exited.
type Exits = SmallVec<[(u64, Arc<Process>); 1]>;

/// Longer than the kernel side keeps to itself what a process has done.
const REMEMBERED_NS: u64 = 3_000_000_000;
/// No more of them than this.
const MOST_GONE: usize = 16_384;

impl Processes {
    /// The process with this number, made on the spot if nobody told of it.
    pub(super) fn get(&mut self, pid: u32) -> Arc<Process> {
        if !self.by_pid.contains_key(&pid)
            && let Some((_, process)) = self.gone.get(&pid).and_then(|it| it.last())
        {
            return Arc::clone(process);
        }
        let process = self.by_pid.entry(pid);
        Arc::clone(process.or_insert_with(|| Arc::new(Process::new(pid))))
    }

    /// The process that had this number at `now`: it may have exited since.
    pub(super) fn at(&mut self, pid: u32, now: u64) -> &Arc<Process> {
        let last = self.last.take().filter(|(last, _)| *last == Some(pid));
        let last = last.unwrap_or_else(|| {
            let process = match self.exited(pid, now) {
                Some(process) => Arc::clone(process),
                None => self.get(pid),
            };
            (
                Some(pid).filter(|pid| !self.gone.contains_key(pid)),
                process,
            )
        });
        &self.last.insert(last).1
    }

    /// Has the process that had this number at `now` exited?
    pub(super) fn has_exited(&self, pid: u32, now: u64) -> bool {
        self.exited(pid, now).is_some()
    }

    fn exited(&self, pid: u32, now: u64) -> Option<&Arc<Process>> {
        let mut gone = self.gone.get(&pid)?.iter();
        Some(&gone.find(|(exit, _)| now <= *exit)?.1)
    }

    /// The process with this number, if anybody told of it.
    pub(super) fn known(&self, pid: u32) -> Option<Arc<Process>> {
        self.by_pid.get(&pid).cloned()
    }

    /// Has anybody told of it, as it is now?
    pub(super) fn is_known(&self, pid: u32) -> bool {
        self.by_pid.contains_key(&pid) && !self.changed.contains(&pid) || self.is_gone(pid)
    }

    /// Has it exited, and nobody got its number since?
    pub(super) fn is_gone(&self, pid: u32) -> bool {
        self.gone.contains_key(&pid) && !self.by_pid.contains_key(&pid)
    }

    /// A process begins, or is told of: `start_ns` says which. True if another had its number.
    pub(super) fn begin(&mut self, pid: u32, start_ns: u64, comm: Comm) -> bool {
        let mut process = Process {
            start_ns: Some(start_ns),
            comm: Some(comm),
            ..Process::new(pid)
        };
        let before = self.by_pid.get(&pid);
        let another = before.is_some_and(|before| !before.is(&process));
        if let Some(before) = before.filter(|_| !another) {
            process.details = before.details.clone();
        }
        self.changed.remove(&pid);
        self.replace(process);
        another
    }

    /// What is known of a process holds for its child, until somebody asks.
    pub(super) fn inherit(&mut self, parent: u32, child: u32) {
        let details = match (self.by_pid.get(&parent), self.by_pid.get(&child)) {
            (Some(parent), Some(child)) if child.details == Details::default() => Details {
                started: None,
                ..parent.details.clone()
            },
            _ => return,
        };
        if details != Details::default() {
            let process = Process::clone(&self.get(child));
            self.replace(Process { details, ..process });
        }
    }

    /// A process runs another program, perhaps as another user: what was said of these is over.
    pub(super) fn execute(&mut self, pid: u32, comm: Comm) -> Arc<Process> {
        let mut process = Process::clone(&self.get(pid));
        process.comm = Some(comm);
        if process.details != Details::default() {
            (process.details.exe, process.details.uid) = (None, None);
            self.changed.insert(pid);
        }
        self.replace(process)
    }

    /// What `/proc` says of it, and its name if the kernel side did not tell. Nothing, if the
    /// number is another's by now.
    pub(super) fn describe(
        &mut self,
        pid: u32,
        comm: Option<Comm>,
        details: Details,
    ) -> Arc<Process> {
        let before = self.get(pid);
        self.changed.remove(&pid);
        if details.started.is_some_and(|it| !before.may_have(it)) {
            return before;
        }
        self.replace(Process {
            comm: before.comm.or(comm),
            details,
            ..*before
        })
    }

    pub(super) fn forget(&mut self, pid: u32) {
        self.last = None;
        self.changed.remove(&pid);
        self.by_pid.remove(&pid);
    }

    /// A process exits, but what it has done may not have been told yet.
    pub(super) fn exit(&mut self, pid: u32, now: u64) {
        self.last = None;
        self.changed.remove(&pid);
        if let Some(process) = self.by_pid.remove(&pid) {
            self.gone.entry(pid).or_default().push((now, process));
            self.exits.push_back((now, pid));
        }
        while let Some(&(then, pid)) = self.exits.front() {
            if now.saturating_sub(then) < REMEMBERED_NS && self.exits.len() <= MOST_GONE {
                break;
            }
            self.exits.pop_front();
            // Its number may have been another's since, who has exited, too.
            if let Some(gone) = self.gone.get_mut(&pid) {
                gone.retain(|(exit, _)| *exit != then);
                if gone.is_empty() {
                    self.gone.remove(&pid);
                }
            }
        }
    }

    fn replace(&mut self, process: Process) -> Arc<Process> {
        self.last = None;
        let pid = process.pid;
        let process = Arc::new(process);
        self.by_pid.insert(pid, Arc::clone(&process));
        process
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::attribution::Started;

    fn details(started_ns: u64) -> Details {
        Details {
            cgroup: Some("/a".to_owned()),
            started: Some(Started::from_ns(started_ns)),
            ..Details::default()
        }
    }

    #[test]
    fn a_process_is_told_again_and_keeps_what_is_known() {
        let mut processes = Processes::default();
        assert!(!processes.begin(7, 5_000_000_000, Comm::from(&b"a"[..])));
        processes.describe(7, None, details(5_000_000_000));
        assert!(!processes.begin(7, 5_000_000_000, Comm::from(&b"b"[..])));
        assert_eq!(processes.get(7).details.cgroup.as_deref(), Some("/a"));
    }

    #[test]
    fn a_child_has_what_its_parent_has_until_somebody_asks() {
        let mut processes = Processes::default();
        for pid in [7, 8] {
            processes.begin(pid, 5_000_000_000, Comm::from(&b"a"[..]));
        }
        processes.describe(7, None, details(5_000_000_000));
        processes.inherit(7, 8);
        let child = processes.get(8);
        assert_eq!(child.details.cgroup.as_deref(), Some("/a"));
        assert_eq!(child.details.started, None);
        let other = Details {
            cgroup: Some("/b".to_owned()),
            ..Details::default()
        };
        processes.describe(8, None, other);
        processes.inherit(7, 8);
        assert_eq!(processes.get(8).details.cgroup.as_deref(), Some("/b"));
    }

    #[test]
    fn one_that_has_exited_is_remembered_until_its_number_is_anothers() {
        let mut processes = Processes::default();
        processes.begin(7, 5_000_000_000, Comm::from(&b"a"[..]));
        processes.exit(7, 1_000_000_000);
        assert!(processes.is_gone(7) && processes.is_known(7));
        assert_eq!(processes.get(7).start_ns, Some(5_000_000_000));
        processes.begin(7, 6_000_000_000, Comm::from(&b"b"[..]));
        assert!(!processes.is_gone(7));
        assert_eq!(processes.get(7).start_ns, Some(6_000_000_000));
        // The first is forgotten in time, and the second not with it.
        processes.exit(7, 2_000_000_000);
        processes.exit(8, 4_500_000_000);
        assert_eq!(processes.get(7).start_ns, Some(6_000_000_000));
        processes.exit(8, 9_000_000_000);
        assert!(!processes.is_gone(7));
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let mut processes = Processes::default();
        processes.begin(7, 5_000_000_000, Comm::from(&b"a"[..]));
        processes.describe(7, None, details(5_000_000_000));
        let first = processes.get(7);
        assert!(processes.begin(7, 6_000_000_000, Comm::from(&b"b"[..])));
        assert_eq!(processes.get(7).details, Details::default());
        assert!(!processes.get(7).is(&first));
    }

    #[test]
    fn who_runs_another_program_is_to_be_described_again() {
        let mut processes = Processes::default();
        let as_user = |uid| Details {
            uid: Some(uid),
            ..details(5_000_000_000)
        };
        processes.begin(7, 5_000_000_000, Comm::from(&b"a"[..]));
        processes.describe(7, None, as_user(0));
        assert!(processes.is_known(7));
        let process = processes.execute(7, Comm::from(&b"b"[..]));
        assert_eq!(process.details.uid, None);
        assert_eq!(process.details.cgroup.as_deref(), Some("/a"));
        assert!(!processes.is_known(7));
        let process = processes.describe(7, None, as_user(1000));
        assert_eq!(process.details.uid, Some(1000));
        assert_eq!(process.comm, Some(Comm::from(&b"b"[..])));
        assert!(processes.is_known(7));
    }

    #[test]
    fn what_proc_says_of_another_is_not_believed() {
        let mut processes = Processes::default();
        processes.begin(7, 5_000_000_000, Comm::from(&b"a"[..]));
        processes.describe(7, None, details(6_000_000_000));
        assert_eq!(processes.get(7).details, Details::default());
        // Whose beginning nobody told is described as it is found, and is known by that then.
        processes.describe(8, None, details(5_000_000_000));
        assert_eq!(processes.get(8).details.cgroup.as_deref(), Some("/a"));
        assert!(!processes.begin(8, 5_000_000_000, Comm::from(&b"a"[..])));
        assert!(processes.begin(8, 6_000_000_000, Comm::from(&b"a"[..])));
    }
}
