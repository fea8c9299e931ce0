//! The hooks at the root of cgroup v2: where that is, and what they are there for.

use std::{fs::File, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::{attach::Status, catalog::Hook, hook_error::HookError, plan::Plan};

/// Inode number of the root of all cgroups (`cgroup_setup_root()`, kernel/cgroup/cgroup.c). In a cgroup
/// namespace another cgroup stands there.
const ROOT: u64 = 1;

/// Which of the two hooks are there. The other programs are told before they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupHooks {
    /// `sock_release` tells of the end of UDP and raw sockets.
    pub(super) release: bool,
    /// `sock_create` tells of new sockets.
    pub(super) create: bool,
}

impl CgroupHooks {
    /// What may be hoped for.
    pub(super) fn expected(plan: &Plan) -> Self {
        let root = cgroup2().is_ok();
        Self {
            release: root,
            create: root && plan.needs_no_descriptors(),
        }
    }

    /// What is left of it when these hooks are attached.
    pub(super) fn left(self, hooks: &[(&Hook, Status)]) -> Self {
        let is_missing = |program: &str| {
            hooks
                .iter()
                .any(|(hook, status)| hook.program == program && *status != Status::Attached)
        };
        Self {
            release: self.release && !is_missing("sock_release"),
            create: self.create && !is_missing("sock_create"),
        }
    }
}

/// The root of cgroup v2.
pub(super) fn cgroup2() -> Result<File, HookError> {
    let root = cgroup2_root().ok_or(HookError::NoCgroup2)?;
    let root = File::open(root).map_err(HookError::Cgroup2)?;
    let inode = root.metadata().map_err(HookError::Cgroup2)?.ino();
    if inode == ROOT {
        Ok(root)
    } else {
        Err(HookError::CgroupNamespace)
    }
}

/// Where cgroup v2 is mounted.
pub(super) fn cgroup2_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(at))
    })
}
