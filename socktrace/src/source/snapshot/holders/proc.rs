//! The links in `/proc/PID/fd`: about 10 µs each, and nothing but the inode number.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use super::{Held, Holder, Walked};
use crate::source::snapshot::proc;

/// Permission bits of a link: how the file is open (`fs/proc/fd.c`).
const READS: u32 = 0o400;
const WRITES: u32 = 0o200;

/// Hands over what the main thread of every process has open.
pub(super) fn each(mut each: impl FnMut(Holder)) -> io::Result<Walked> {
    let mut walked = Walked::default();
    for pid in proc::pids()? {
        let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                walked.unreadable += 1;
                continue;
            }
            // It ended meanwhile.
            Err(_) => continue,
        };
        for entry in entries.map_while(Result::ok) {
            let Some(fd) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            if let Some((inode, held)) = held(&entry.path()) {
                walked.rows += 1;
                each(Holder {
                    pid,
                    fd,
                    inode,
                    held,
                });
            }
        }
    }
    Ok(walked)
}

fn held(path: &Path) -> Option<(u32, Held)> {
    let link = fs::read_link(path).ok()?;
    let link = link.as_os_str();
    if let Some(inode) = proc::numbered(link, "socket") {
        return Some((inode, Held::Socket(None)));
    }
    let inode = proc::numbered(link, "pipe")?;
    let mode = fs::symlink_metadata(path).ok()?.mode();
    let (reads, writes) = (mode & READS != 0, mode & WRITES != 0);
    Some((inode, Held::Pipe { reads, writes }))
}
