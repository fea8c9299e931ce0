//! What is known of a process: its name from the kernel side, the rest from `/proc` when it is
//! first seen.

pub mod attribution;

use std::{borrow::Cow, fmt, fs};

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
    /// Its number in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread, where known.
    pub comm: Option<Comm>,
    /// What `/proc` said.
    pub details: Details,
}

/// What `/proc` says of a process. All of it is empty where the process was gone before we looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Details {
    /// Path of its control group: in the v2 hierarchy if it is in a group there, else in the
    /// first v1 hierarchy in which it is.
    pub cgroup: Option<String>,
    /// Identifier of its container, from the path.
    pub container: Option<String>,
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
}

impl Ask {
    /// Is the name asked for?
    pub fn name(self) -> bool {
        self != Self::Nothing
    }

    /// The details, if they are asked for.
    pub fn details(self, pid: u32) -> Details {
        match self {
            Self::Details => read_details(pid),
            Self::Names | Self::Nothing => Details::default(),
        }
    }
}

/// Reads what `/proc` says of a process.
pub fn read_details(pid: u32) -> Details {
    fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map(|text| Details::from_cgroup_file(&text))
        .unwrap_or_default()
}

/// Name of a process that the kernel side did not announce.
pub fn read_comm(pid: u32) -> Option<Comm> {
    let text = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(Comm::from(text.strip_suffix(b"\n").unwrap_or(&text)))
}

impl Details {
    /// From the text of `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`.
    fn from_cgroup_file(text: &str) -> Self {
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
        }
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
