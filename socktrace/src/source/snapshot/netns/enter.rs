//! Opening what is kept open in a namespace, from inside.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    thread,
};

use hashbrown::HashMap;
use rustix::{
    io::Errno,
    ioctl::{self, Ioctl, IoctlOutput, Opcode},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{Diag, Namespace, Skipped, find::Way};

/// Enters at most `room` namespaces and comes back with what is open there.
///
/// On a thread of its own, which ends in the namespace that it entered last: the caller's must stay
/// where it is, and so must every other that does work for it.
pub(super) fn enter_all(
    ways: HashMap<u32, Way>,
    room: usize,
    opened: &mut Vec<Namespace>,
    skipped: &mut Vec<Skipped>,
) -> io::Result<()> {
    thread::scope(|scope| {
        let helper = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, || {
                let mut here = fs::metadata("/proc/thread-self/ns/net")
                    .ok()
                    .and_then(|own| u32::try_from(own.ino()).ok());
                let mut ways: Vec<_> = ways.into_iter().collect();
                // The one that we are in first: it can be asked without any privilege. Then the older
                // ones: a number is another's only when it is free again.
                ways.sort_by_key(|(inum, _)| (Some(*inum) != here, *inum));
                for (inum, way) in ways.into_iter().take(room) {
                    match enter(inum, &way, &mut here) {
                        Ok(namespace) => opened.push(namespace),
                        Err(error) => skipped.push(Skipped {
                            inum,
                            reason: format!("{}: {error}", way.describe()),
                        }),
                    }
                }
            })?;
        helper
            .join()
            .map_err(|_| io::Error::other("the thread that enters network namespaces panicked"))
    })
}

fn enter(inum: u32, way: &Way, here: &mut Option<u32>) -> io::Result<Namespace> {
    if *here != Some(inum) {
        let file = way.open()?;
        // A number may be another's by now, as pids and descriptors are.
        if file.metadata()?.ino() != u64::from(inum) {
            return Err(io::Error::other("it is gone"));
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(with_remedy)?;
        *here = Some(inum);
    }
    Ok(Namespace {
        inum,
        own: File::open("/proc/thread-self/ns/net")?,
        diag: Diag::open(inum)?,
        // They are the thread's namespace's when they are opened, and stay so.
        sockstat: File::open("/proc/thread-self/net/sockstat")?,
        sockstat6: File::open("/proc/thread-self/net/sockstat6").ok(),
    })
}

fn with_remedy(error: Errno) -> io::Error {
    if error == Errno::PERM {
        let what = "it takes CAP_SYS_ADMIN to enter another namespace";
        return io::Error::new(io::ErrorKind::PermissionDenied, what);
    }
    error.into()
}

impl Way {
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Process(pid) => File::open(format!("/proc/{pid}/ns/net")),
            Self::Path(path) => File::open(path),
            &Self::Socket { pid, fd } => namespace_of_socket(pid, fd).map(File::from),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Process(pid) => format!("the namespace of process {pid} cannot be entered"),
            Self::Path(path) => format!("{} cannot be entered", path.display()),
            Self::Socket { pid, fd } => {
                format!("the namespace of descriptor {fd} of process {pid} cannot be entered")
            }
        }
    }
}

/// Takes another process's descriptor (5.6), and asks the socket behind it.
fn namespace_of_socket(pid: u32, fd: u32) -> io::Result<OwnedFd> {
    let gone = || io::Error::other("it is gone");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = pidfd_open(pid.ok_or_else(gone)?, PidfdFlags::empty())?;
    let fd = i32::try_from(fd).map_err(|_| gone())?;
    let socket = pidfd_getfd(process, fd, PidfdGetfdFlags::empty())?;
    // SAFETY: the operation below is what the kernel says of this number.
    Ok(unsafe { ioctl::ioctl(socket, NamespaceOfSocket) }?)
}

/// `SIOCGSKNS` (`include/uapi/linux/sockios.h`): a descriptor of a socket's network namespace, as
/// the returned number. Other files do not know it.
struct NamespaceOfSocket;

// SAFETY: the kernel reads and writes nothing through the argument, and returns a descriptor that
// is ours.
unsafe impl Ioctl for NamespaceOfSocket {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        0x894c
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<OwnedFd> {
        // SAFETY: as above; a failure does not come here.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}
