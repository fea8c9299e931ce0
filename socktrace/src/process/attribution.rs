//! To whom a process belongs: its program and user, and the systemd unit and Kubernetes pod that
//! its control group names.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::PathBuf, sync::OnceLock};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, the same on every architecture that we run
/// on (`include/asm-generic/param.h`).
const USER_HZ: u64 = 100;
const NS_A_TICK: u64 = 1_000_000_000 / USER_HZ;

/// What `/proc` says about a process beyond its control group. All of it is empty where the process
/// was gone before we looked, or is not ours to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// Its program. Without `CAP_SYS_PTRACE` other users' are not known.
    pub exe: Option<PathBuf>,
    /// The program's file was removed or replaced since.
    pub exe_deleted: bool,
    /// Effective user.
    pub uid: Option<u32>,
    /// When it started.
    pub started: Option<Started>,
}

/// When a process started: with its number, what it is known by, as numbers are used again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Started(u64);

impl Started {
    /// From what the kernel side says: `CLOCK_BOOTTIME`, nanoseconds.
    pub fn from_ns(ns: u64) -> Self {
        Self(ns / NS_A_TICK)
    }

    /// The same time? Where a time namespace sets the clocks of `/proc` back or forth, a tick may be
    /// lost in rounding.
    pub fn is_close_to(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 1
    }

    /// As `/proc` counts it: `CLOCK_BOOTTIME`, hundredths of a second.
    pub fn ticks(self) -> u64 {
        self.0
    }
}

impl Attribution {
    /// Reads it.
    pub fn read(pid: u32) -> Self {
        let text = |file| fs::read(format!("/proc/{pid}/{file}")).ok();
        let link = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let (exe, exe_deleted) = link.map(program).unzip();
        Self {
            exe,
            exe_deleted: exe_deleted.unwrap_or(false),
            uid: text("status").and_then(|it| effective_uid(&it)),
            started: text("stat").and_then(|it| as_the_kernel_counts(started(&it)?)),
        }
    }
}

/// The kernel appends a mark to the name of a file that is gone. A file may end with that too; it
/// is then taken for one that is gone.
fn program(link: PathBuf) -> (PathBuf, bool) {
    let mut bytes = link.into_os_string().into_vec();
    let deleted = bytes.ends_with(b" (deleted)");
    if deleted {
        bytes.truncate(bytes.len() - b" (deleted)".len());
    }
    (PathBuf::from(OsString::from_vec(bytes)), deleted)
}

/// The second of the four numbers after `Uid:`.
pub(crate) fn effective_uid(status: &[u8]) -> Option<u32> {
    // The name above it may be any bytes.
    let status = String::from_utf8_lossy(status);
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Field 22 of `/proc/PID/stat`. Field 2 is the name, in which anything may stand: the last
/// parenthesis ends it.
pub(crate) fn started(stat: &[u8]) -> Option<Started> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let ticks = rest.split_ascii_whitespace().nth(22 - 3)?;
    ticks.parse().ok().map(Started)
}

/// `/proc` shows times as the reader's time namespace has them.
fn as_the_kernel_counts(started: Started) -> Option<Started> {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = OFFSET.get_or_init(|| {
        let file = fs::read_to_string("/proc/self/timens_offsets");
        file.map_or(0, |text| boottime_offset(&text))
    });
    let started = started.0.checked_add_signed(offset.saturating_neg());
    started.map(Started)
}

/// Ticks by which `CLOCK_BOOTTIME` is ahead here; the file is there since 5.6.
pub(crate) fn boottime_offset(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|it| it.strip_prefix("boottime"));
    let mut numbers = line
        .into_iter()
        .flat_map(str::split_ascii_whitespace)
        .map_while(|number| number.parse::<i64>().ok());
    let (seconds, ns) = (numbers.next(), numbers.next());
    let (seconds, ns) = (seconds.unwrap_or(0), ns.unwrap_or(0));
    let ticks = seconds.saturating_mul(USER_HZ.cast_signed());
    ticks.saturating_add(ns / NS_A_TICK.cast_signed())
}

/// The systemd unit in the path of a control group: the innermost, so that of a user's service and
/// not that of all that the user runs. What a unit keeps below itself is still its own.
#[allow(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "systemd's suffixes are no file extensions"
)]
pub fn unit(cgroup: &str) -> Option<&str> {
    const KINDS: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];
    fn kind(name: &str) -> Option<&str> {
        Some(name.rsplit_once('.')?.1)
    }
    let mut names = cgroup
        .split('/')
        .skip(1)
        .skip_while(|name| kind(name) == Some("slice"));
    let is_unit = |name: &&str| kind(name).is_some_and(|kind| KINDS.contains(&kind));
    let outer = names.next().filter(is_unit)?;
    // A service may hold groups with any name, but only that of a user's manager units again.
    let inner = outer
        .starts_with("user@")
        .then(|| names.find(|name| kind(name) != Some("slice")))
        .flatten()
        .filter(is_unit);
    let name = inner.unwrap_or(outer);
    // Escaped where the kernel has a file of that name.
    Some(name.strip_prefix('_').unwrap_or(name))
}

/// The Kubernetes pod in the path of a control group: its UID as the API spells it. systemd wants
/// underscores for hyphens: `kubepods-burstable-pod12_34.slice`; cgroupfs has `pod12-34`.
pub fn pod_uid(cgroup: &str) -> Option<String> {
    if !cgroup.contains("kubepods") {
        return None;
    }
    cgroup.split(['/', ':']).find_map(|name| {
        let name = name.strip_suffix(".slice").unwrap_or(name);
        let uid = match name.rsplit_once("-pod") {
            Some((before, uid)) if before.starts_with("kubepods") => uid,
            _ => name.strip_prefix("pod")?,
        };
        // 36 characters, or 32 for a pod that the node started by itself.
        let plausible = (32..=36).contains(&uid.len())
            && uid
                .bytes()
                .all(|it| it.is_ascii_hexdigit() || it == b'-' || it == b'_');
        plausible.then(|| uid.replace('_', "-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost() {
        for (cgroup, expected) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            (
                "/system.slice/docker.service/payload",
                Some("docker.service"),
            ),
            ("/system.slice/_cpu.service", Some("cpu.service")),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                Some("web.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service",
                Some("user@1000.service"),
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
            ),
            ("/docker/4f1c", None),
            ("/system.slice", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(unit(cgroup), expected, "{cgroup}");
        }
    }

    #[test]
    fn a_pod_is_known_by_either_spelling() {
        const UID: &str = "12345678-9abc-def0-1234-56789abcdef0";
        let escaped = UID.replace('-', "_");
        for cgroup in [
            format!("/kubepods/burstable/pod{UID}/4f1c"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{escaped}.slice/cri-containerd-4f1c.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{escaped}.slice:cri-containerd:4f1c"),
        ] {
            assert_eq!(pod_uid(&cgroup).as_deref(), Some(UID), "{cgroup}");
        }
        assert_eq!(pod_uid(&format!("/machine/pod{UID}")), None);
        assert_eq!(pod_uid("/kubepods/burstable/podracer"), None);
    }

    #[test]
    fn a_name_cannot_pass_for_numbers() {
        let numbers: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) S 1 (b)) S {}\n", numbers.join(" "));
        assert_eq!(started(stat.as_bytes()), Some(Started(22)));
        assert_eq!(started(b"7 (a) S 1"), None);
        assert_eq!(started(b""), None);
        let status = b"Name:\t\xffUid:\nUmask:\t0022\nUid:\t1\t2\t3\t4\n";
        assert_eq!(effective_uid(status), Some(2));
    }

    #[test]
    fn a_program_that_is_gone_keeps_its_name() {
        let program = |link: &str| program(PathBuf::from(link));
        assert_eq!(program("/bin/a"), (PathBuf::from("/bin/a"), false));
        assert_eq!(program("/bin/a (deleted)"), (PathBuf::from("/bin/a"), true));
    }

    #[test]
    fn our_own_process_is_known() {
        let own = Attribution::read(std::process::id());
        assert_eq!(own.exe, std::env::current_exe().ok());
        assert_eq!(own.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(own.started.is_some());
        assert_eq!(Attribution::read(u32::MAX), Attribution::default());
    }

    #[test]
    fn both_clocks_name_the_same_tick() {
        assert_eq!(Started::from_ns(1_239_999_999), Started(123));
        assert_eq!(Started(123).ticks(), 123);
    }

    #[test]
    fn clocks_of_a_time_namespace_are_set_right() {
        let file = "monotonic           0         0\nboottime       86400  20000000\n";
        assert_eq!(boottime_offset(file), 8_640_002);
        assert_eq!(boottime_offset("boottime -10 0\n"), -1_000);
        assert_eq!(boottime_offset(""), 0);
        let far = format!("boottime {} {}", i64::MAX, i64::MAX);
        assert_eq!(boottime_offset(&far), i64::MAX);
    }
}
