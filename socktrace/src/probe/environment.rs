//! What tracing depends on besides the hooks, as the system shows it. Read, not judged: that is
//! for [`check`](super::check).

use std::{fs, io, os::unix::fs::MetadataExt as _, path::PathBuf};

use aya::{maps::MapType, sys::is_map_supported};
use caps::{CapSet, Capability, CapsHashSet};

use super::cgroup::cgroup2_root;
use crate::process::proc_is_ours;

/// Inodes of the namespaces that the kernel begins with: `include/linux/proc_ns.h`.
const INITIAL_USER: u64 = 0xEFFF_FFFD;
const INITIAL_PID: u64 = 0xEFFF_FFFC;

/// Where the system shows itself.
#[derive(Clone, Debug)]
pub struct Roots {
    /// sysfs, with what is mounted below it.
    pub sys: PathBuf,
    /// procfs.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
        }
    }
}

/// Where the ids of classic tracepoints are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracefs {
    /// Here.
    Readable(PathBuf),
    /// Here, but this kernel has no events for system calls.
    NoSystemCalls(PathBuf),
    /// Here, but not for us.
    Unreadable(PathBuf),
    /// Nowhere.
    Absent,
}

/// What the system says. `None` is what it does not say, or not to us.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Release of the kernel.
    pub release: String,
    /// Architecture.
    pub machine: String,
    /// Why the kernel's types cannot be read, if they cannot.
    pub types: Result<(), String>,
    /// Lockdown's mode.
    pub lockdown: Option<String>,
    /// Effective capabilities.
    pub capabilities: CapsHashSet,
    /// Are they those of the initial user namespace?
    pub initial_user: bool,
    /// Are processes numbered here as the kernel numbers them?
    pub initial_pid: bool,
    /// Does `/proc` number them as we are numbered?
    pub own_proc: bool,
    /// See [`Tracefs`].
    pub tracefs: Tracefs,
    /// `kernel.perf_event_paranoid`.
    pub paranoid: Option<i32>,
    /// `kernel.perf_event_max_stack`.
    pub max_stack: Option<i32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<i32>,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// Are there ring buffers?
    pub ring_buffer: Option<bool>,
}

impl Environment {
    /// That of this process.
    pub fn here() -> Self {
        let system = rustix::system::uname();
        Self {
            release: system.release().to_string_lossy().into_owned(),
            machine: system.machine().to_string_lossy().into_owned(),
            capabilities: caps::read(None, CapSet::Effective).unwrap_or_default(),
            cgroup2: cgroup2_root(),
            ring_buffer: is_map_supported(MapType::RingBuf).ok(),
            own_proc: proc_is_ours(),
            ..Self::read(&Roots::default())
        }
    }

    /// What files say; nothing else is known, and there are no capabilities.
    pub fn read(roots: &Roots) -> Self {
        let number = |name: &str| {
            let text = fs::read_to_string(roots.proc.join("sys").join(name)).ok()?;
            text.trim().parse().ok()
        };
        // A namespace that is not shown belongs to a kernel that has only one.
        let initial = |name: &str, inode: u64| {
            let path = roots.proc.join("self/ns").join(name);
            fs::metadata(path).map_or(true, |namespace| namespace.ino() == inode)
        };
        Self {
            release: String::new(),
            machine: String::new(),
            types: fs::File::open(roots.sys.join("kernel/btf/vmlinux"))
                .map(drop)
                .map_err(|error| error.to_string()),
            lockdown: lockdown(roots),
            capabilities: CapsHashSet::new(),
            initial_user: initial("user", INITIAL_USER),
            initial_pid: initial("pid", INITIAL_PID),
            own_proc: true,
            tracefs: tracefs(roots),
            paranoid: number("kernel/perf_event_paranoid"),
            max_stack: number("kernel/perf_event_max_stack"),
            unprivileged_bpf_disabled: number("kernel/unprivileged_bpf_disabled"),
            jit: number("net/core/bpf_jit_enable"),
            cgroup2: None,
            ring_buffer: None,
        }
    }

    /// Would the kernel let us do what this capability is for? To `bpf()` and `perf_event_open()`,
    /// `CAP_SYS_ADMIN` still is all of those that were cut out of it. Capabilities over another
    /// user namespace are none over the kernel.
    pub fn may(&self, capability: Capability) -> bool {
        let part = matches!(
            capability,
            Capability::CAP_BPF | Capability::CAP_PERFMON | Capability::CAP_NET_ADMIN
        );
        let has = |capability| self.capabilities.contains(&capability);
        self.initial_user && (has(capability) || (part && has(Capability::CAP_SYS_ADMIN)))
    }

    /// Is the kernel older than this release (`5.8`)? Only if both can be told.
    pub fn older_than(&self, release: &str) -> bool {
        match (version(&self.release), version(release)) {
            (Some(ours), Some(theirs)) => ours < theirs,
            _ => false,
        }
    }
}

/// Inode number of our pid namespace, for the kernel side; 0 for the initial one.
pub fn pid_namespace() -> u32 {
    let inode = fs::metadata("/proc/self/ns/pid").map_or(INITIAL_PID, |it| it.ino());
    // All namespaces' numbers have 32 bits.
    let inode = u32::try_from(inode).ok();
    inode
        .filter(|&inode| u64::from(inode) != INITIAL_PID)
        .unwrap_or(0)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown(roots: &Roots) -> Option<String> {
    let modes = fs::read_to_string(roots.sys.join("kernel/security/lockdown")).ok()?;
    let (_, mode) = modes.split_once('[')?;
    Some(mode.split_once(']')?.0.to_owned())
}

/// The same two places, in the same order, in which aya looks.
fn tracefs(roots: &Roots) -> Tracefs {
    let mut unreadable = None;
    for place in ["kernel/tracing", "kernel/debug/tracing"] {
        let at = roots.sys.join(place);
        // The id of one tracepoint stands for all of them. The directory exists even where
        // nothing is mounted on it: then it is empty.
        let id = fs::read(at.join("events/syscalls/sys_exit_socket/id"));
        match id.map_err(|error| error.kind()) {
            Ok(_) => return Tracefs::Readable(at),
            Err(io::ErrorKind::PermissionDenied) => unreadable = unreadable.or(Some(at)),
            Err(_) if at.join("events").exists() => return Tracefs::NoSystemCalls(at),
            Err(_) => {}
        }
    }
    unreadable.map_or(Tracefs::Absent, Tracefs::Unreadable)
}

/// A system that lacks nothing, for tests to take things away from.
#[cfg(test)]
pub(super) fn complete() -> Environment {
    Environment {
        release: "6.18.1".to_owned(),
        machine: "x86_64".to_owned(),
        types: Ok(()),
        lockdown: Some("integrity".to_owned()),
        capabilities: caps::all(),
        initial_user: true,
        initial_pid: true,
        own_proc: true,
        tracefs: Tracefs::Readable("/sys/kernel/tracing".into()),
        paranoid: Some(2),
        max_stack: Some(127),
        unprivileged_bpf_disabled: Some(2),
        jit: Some(1),
        cgroup2: Some("/sys/fs/cgroup".into()),
        ring_buffer: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system made of these files.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let roots = Roots {
            sys: directory.path().join("sys"),
            proc: directory.path().join("proc"),
        };
        (directory, roots)
    }

    #[test]
    fn an_empty_system_says_nothing() {
        let (_directory, roots) = system(&[]);
        let environment = Environment::read(&roots);
        assert!(environment.types.unwrap_err().contains("No such file"));
        assert_eq!(environment.lockdown, None);
        assert_eq!(environment.tracefs, Tracefs::Absent);
        assert_eq!(environment.paranoid, None);
    }

    #[test]
    fn lockdown_is_the_mode_in_brackets() {
        for mode in ["none", "integrity", "confidentiality"] {
            let text = "none integrity confidentiality\n".replace(mode, &format!("[{mode}]"));
            let (_directory, roots) = system(&[("sys/kernel/security/lockdown", &text)]);
            assert_eq!(lockdown(&roots).as_deref(), Some(mode));
        }
        let (_directory, roots) = system(&[("sys/kernel/security/lockdown", "")]);
        assert_eq!(lockdown(&roots), None);
    }

    #[test]
    fn tracefs_may_be_below_debugfs() {
        let id = "sys/kernel/debug/tracing/events/syscalls/sys_exit_socket/id";
        // Not mounted, the directory is there all the same.
        let (_directory, roots) = system(&[(id, "7\n"), ("sys/kernel/tracing/.x", "")]);
        assert_eq!(
            tracefs(&roots),
            Tracefs::Readable(roots.sys.join("kernel/debug/tracing"))
        );
    }

    #[test]
    fn tracefs_may_have_no_events_for_system_calls() {
        let (_directory, roots) = system(&[("sys/kernel/tracing/events/tcp/enable", "0\n")]);
        assert_eq!(
            tracefs(&roots),
            Tracefs::NoSystemCalls(roots.sys.join("kernel/tracing"))
        );
    }

    #[test]
    fn sysctls_are_numbers() {
        let (_directory, roots) = system(&[
            ("proc/sys/kernel/perf_event_paranoid", "-1\n"),
            ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
            ("proc/sys/net/core/bpf_jit_enable", "on\n"),
        ]);
        let environment = Environment::read(&roots);
        assert_eq!(environment.paranoid, Some(-1));
        assert_eq!(environment.unprivileged_bpf_disabled, Some(2));
        assert_eq!(environment.jit, None);
    }

    #[test]
    fn the_administrator_may_trace_but_not_in_a_user_namespace() {
        let mut environment = complete();
        environment.capabilities = [Capability::CAP_SYS_ADMIN].into();
        assert!(environment.may(Capability::CAP_BPF));
        assert!(!environment.may(Capability::CAP_SYS_PTRACE));
        environment.initial_user = false;
        assert!(!environment.may(Capability::CAP_BPF));
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        let mut environment = complete();
        environment.release = "6.9.3-arch1-1".to_owned();
        assert!(environment.older_than("6.10"));
        assert!(!environment.older_than("5.19"));
        environment.release = "?".to_owned();
        assert!(!environment.older_than("5.8"));
    }
}
