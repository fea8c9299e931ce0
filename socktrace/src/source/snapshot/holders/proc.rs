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
        match process(pid, |holder| {
            walked.rows += 1;
            each(holder);
        }) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => walked.unreadable += 1,
            // Or it ended meanwhile.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(walked)
}

fn process(pid: u32, mut each: impl FnMut(Holder)) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        match held(&entry.path()) {
            Ok(Some((inode, held))) => each(Holder {
                pid,
                start_ns: None,
                fd,
                inode,
                held,
            }),
            Ok(None) => {}
            // Their numbers may be seen where what they lead to may not.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(())
}

fn held(path: &Path) -> io::Result<Option<(u32, Held)>> {
    let link = fs::read_link(path)?;
    let link = link.as_os_str();
    if let Some(inode) = proc::numbered(link, "socket") {
        return Ok(Some((inode, Held::Socket(None))));
    }
    let Some(inode) = proc::numbered(link, "pipe") else {
        return Ok(None);
    };
    let mode = fs::symlink_metadata(path)?.mode();
    let (reads, writes) = (mode & READS != 0, mode & WRITES != 0);
    Ok(Some((inode, Held::Pipe { reads, writes })))
}
