//! What is known of a process: its name from the kernel side, the rest from `/proc` when it is
//! first seen.

pub mod attribution;
mod leader;

use std::{borrow::Cow, fmt, fs, sync::OnceLock};

use self::attribution::{Attribution, Started};
pub use self::leader::is_leaderless;

/// Name of a process's main thread: at most 15 bytes that the process chose itself, so anything.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Comm([u8; 16]);

impl Comm {
    /// From the kernel's NUL-padded form.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes before the padding. Not checked, not fit for a terminal.
    pub fn as_bytes(&self) -> &[u8] {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(16);
        &self.0[..length]
    }

    /// As text; invalid UTF-8 is replaced. Control characters are still there.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl From<&[u8]> for Comm {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; 16];
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name[..length]);
        Self(bytes)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

/// A process (thread group).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in our pid namespace.
    pub pid: u32,
    /// When it started, `CLOCK_BOOTTIME` in nanoseconds, if the kernel side told: numbers are used
    /// again. `/proc` tells too, less finely, see [`Details::started`].
    pub start_ns: Option<u64>,
    /// Name of its main thread, where known.
    pub comm: Option<Comm>,
    /// What `/proc` said.
    pub details: Details,
}

impl Process {
    /// One of which nothing else is known.
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            start_ns: None,
            comm: None,
            details: Details::default(),
        }
    }

    /// Is it the same process, as far as is known, and not merely the same number?
    pub fn is(&self, other: &Self) -> bool {
        let same_start = match (self.start_ns, other.start_ns) {
            (Some(this), Some(that)) => this == that,
            _ => other.started().is_none_or(|started| self.may_have(started)),
        };
        self.pid == other.pid && same_start
    }

    /// May it have started then?
    pub fn may_have(&self, started: Started) -> bool {
        self.started().is_none_or(|own| own.is_close_to(started))
    }

    fn started(&self) -> Option<Started> {
        let exactly = self.start_ns.map(Started::from_ns);
        exactly.or(self.details.started)
    }
}

/// What `/proc` says of a process. All of it is empty where the process was gone before we looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Details {
    /// Path of its control group: in the v2 hierarchy if it is in a group there, else in the
    /// first v1 hierarchy in which it is.
    pub cgroup: Option<String>,
    /// Identifier of its container, from the path.
    pub container: Option<String>,
    /// Path of its program; see [`Attribution::exe`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its effective user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
}

/// Does `/proc` number processes as our pid namespace does? If not, what it says of a number is
/// about another process.
pub fn proc_is_ours() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| {
        let own = std::process::id().to_string();
        fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
    })
}

/// What to ask `/proc` about processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: those of a recording are long gone.
    Nothing,
    /// The name of those that the kernel side could not tell of.
    Names,
    /// That, and which control group and container each is in.
    Details,
    /// The same, but of a child only when it runs another program: until then it has what its parent
    /// has. Almost: it may have been born into another control group.
    Families,
}

impl Ask {
    /// Is the name asked for?
    pub fn name(self) -> bool {
        self != Self::Nothing
    }

    /// The details, if they are asked for.
    pub fn details(self, pid: u32) -> Details {
        match self {
            Self::Details | Self::Families => read_details(pid),
            Self::Names | Self::Nothing => Details::default(),
        }
    }
}

/// Reads what `/proc` says of a process.
pub fn read_details(pid: u32) -> Details {
    if !proc_is_ours() {
        return Details::default();
    }
    let Attribution {
        exe, uid, started, ..
    } = Attribution::read(pid);
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    Details {
        exe: exe.map(|path| path.to_string_lossy().into_owned()),
        uid,
        started,
        ..cgroups
            .map(|text| Details::from_cgroup_file(&text))
            .unwrap_or_default()
    }
}

/// Name of a process that the kernel side did not announce.
pub fn read_comm(pid: u32) -> Option<Comm> {
    if !proc_is_ours() {
        return None;
    }
    let text = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(Comm::from(text.strip_suffix(b"\n").unwrap_or(&text)))
}

impl Details {
    /// From the text of `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`.
    pub(crate) fn from_cgroup_file(text: &str) -> Self {
        let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        let cgroup = unified
            .into_iter()
            .chain(paths())
            .find(|path| *path != "/")
            .or(unified)
            .or_else(|| paths().next());
        Self {
            container: cgroup.and_then(container_of).map(str::to_owned),
            cgroup: cgroup.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Its systemd unit.
    pub fn unit(&self) -> Option<&str> {
        attribution::unit(self.cgroup.as_deref()?)
    }

    /// UID of its Kubernetes pod.
    pub fn pod(&self) -> Option<String> {
        attribution::pod_uid(self.cgroup.as_deref()?)
    }
}

/// The container's identifier in a path such as `/docker/ID`, `/system.slice/docker-ID.scope`,
/// `/kubepods.slice/…/cri-containerd-ID.scope` or `/kubepods/burstable/podUID/ID`: the last
/// component with 64 hexadecimal digits.
fn container_of(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let id = name.rsplit(['-', ':']).next()?;
        let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (id.len() == 64 && hexadecimal).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c3a8f0a3e5c1b7d9e2f4a6b8c0d1e3f5a7b9c1d3e5f7a9b1c3d5e7f9a1b3c";

    #[test]
    fn a_container_is_known_by_its_path() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/kubepods/burstable/pod12-34/{ID}"),
            format!("/kubepods.slice/kubepods-pod12_34.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods.slice/pod12.slice:cri-containerd:{ID}"),
            format!("/docker/{ID}/init.scope"),
        ] {
            assert_eq!(container_of(&path), Some(ID), "{path}");
        }
        assert_eq!(container_of("/system.slice/nginx.service"), None);
        assert_eq!(
            container_of("/user.slice/user-1000.slice/session-3.scope"),
            None
        );
    }

    #[test]
    fn the_unified_hierarchy_wins_unless_it_says_nothing() {
        let hybrid = "9:cpu:/system.slice/nginx.service\n0::/\n";
        let details = Details::from_cgroup_file(hybrid);
        assert_eq!(
            details.cgroup.as_deref(),
            Some("/system.slice/nginx.service")
        );
        let unified = "1:name=systemd:/a\n0::/b\n";
        assert_eq!(
            Details::from_cgroup_file(unified).cgroup.as_deref(),
            Some("/b")
        );
        assert_eq!(
            Details::from_cgroup_file("0::/\n").cgroup.as_deref(),
            Some("/")
        );
        assert_eq!(Details::from_cgroup_file("").cgroup, None);
    }

    #[test]
    fn a_name_is_at_most_fifteen_bytes() {
        assert_eq!(
            Comm::from(&b"a-very-long-process-name"[..]).as_bytes(),
            b"a-very-long-pro"
        );
        assert_eq!(
            Comm::new(*b"nginx\0\0\0\0\0\0\0\0\0\0\0").as_bytes(),
            b"nginx"
        );
    }
}
