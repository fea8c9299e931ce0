//! Where network namespaces are found.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hashbrown::HashMap;

use crate::source::snapshot::proc;

/// Where `ip netns add` and Docker keep namespaces that need no process.
const FOLDERS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// A way into a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A process is in it. Its main thread is: others may be elsewhere.
    Process(u32),
    /// A file stands for it.
    Path(PathBuf),
    /// A process holds a socket of it.
    Socket { pid: u32, fd: u32 },
}

/// The namespaces of processes, each with one of them, and how many processes do not show theirs.
pub(super) fn processes() -> io::Result<(HashMap<u32, Way>, usize)> {
    let mut ways = HashMap::new();
    let mut unreadable = 0;
    for pid in proc::pids()? {
        match fs::read_link(format!("/proc/{pid}/ns/net")) {
            Ok(link) => {
                if let Some(inum) = proc::numbered(link.as_os_str(), "net") {
                    ways.entry(inum).or_insert(Way::Process(pid));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unreadable += 1,
            // It ended meanwhile, or has ended and waits for its parent.
            Err(_) => {}
        }
    }
    Ok((ways, unreadable))
}

/// The namespaces that have a name.
pub(super) fn names() -> impl Iterator<Item = (u32, Way)> {
    let files = fs::metadata("/proc/self/ns/net").map(|own| own.dev()).ok();
    FOLDERS
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(move |entry| {
            let path = entry.ok()?.path();
            Some((namespace(&path, files?)?, Way::Path(path)))
        })
}

/// The inode number, if the file is a namespace: all of those are on one device, and what
/// `ip netns del` could not remove is an empty file on another.
fn namespace(path: &Path, device: u64) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.dev() == device).then(|| u32::try_from(metadata.ino()).ok())?
}
