//! Which findings and limits are wanted.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::selection;
use crate::{
    cli::Watch,
    detect::{Finding, Limit},
    failure::Failure,
};

/// Those of these namespaces and processes, or of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) netns: Vec<u32>,
    pub(super) pids: Vec<u32>,
}

impl Filter {
    pub(super) fn new(args: &Watch) -> Result<Self, Failure> {
        Ok(Self {
            netns: selection::namespaces(&args.netns)?,
            pids: args.pids.clone(),
        })
    }

    pub(super) fn wants(&self, finding: &Finding) -> bool {
        let subject = &finding.subject;
        let pid = subject.process.as_ref().map(|process| process.pid);
        (self.pids.is_empty() || pid.is_some_and(|pid| self.pids.contains(&pid)))
            && self.is_of(subject.netns, pid)
    }

    /// What belongs to no process is of use to each of them.
    pub(super) fn wants_limit(&self, limit: &Limit) -> bool {
        let pid = limit.process.as_ref().map(|process| process.pid);
        let fits = |pid| self.pids.is_empty() || self.pids.contains(&pid);
        pid.is_none_or(fits) && self.is_of(limit.netns, pid)
    }

    fn is_of(&self, netns: Option<u32>, pid: Option<u32>) -> bool {
        match (netns, pid) {
            _ if self.netns.is_empty() => true,
            (Some(netns), _) => self.netns.contains(&netns),
            (None, Some(pid)) => self.is_inside(pid),
            // What the whole machine lacks, each namespace lacks.
            (None, None) => true,
        }
    }

    /// Is the process in a wanted namespace?
    fn is_inside(&self, pid: u32) -> bool {
        let netns = fs::metadata(format!("/proc/{pid}/ns/net"));
        netns.is_ok_and(|netns| self.netns.iter().any(|it| u64::from(*it) == netns.ino()))
    }
}
