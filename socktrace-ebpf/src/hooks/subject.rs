//! The TCP socket that a system call is about.

use socktrace_common::{event::EventKind, socket::SocketInfo};

use crate::{
    filter,
    kernel::{
        Probed,
        file::{self, SocketFile},
        pid,
        sock::{self, Endpoint},
    },
};

/// A TCP socket of the running process that may pass the filters.
pub(super) struct Subject {
    pub(super) file: SocketFile,
    pub(super) at: Endpoint,
    /// See [`SocketInfo::id`].
    pub(super) id: u64,
}

/// The running process, if its events of this kind may pass; 0 for one that has no number for us.
#[inline(always)]
pub(super) fn caller(kind: EventKind) -> Option<u32> {
    let tgid = pid::running_tgid();
    (filter::kind(kind) && filter::process(tgid)).then_some(tgid)
}

impl Subject {
    /// The socket behind a descriptor; `None` if it is none, is not TCP or is not wanted.
    #[inline(always)]
    pub(super) fn behind(fd: i32) -> Option<Self> {
        Self::of(file::socket(fd)?)
    }

    /// The socket, unless it is not TCP or not wanted.
    #[inline(always)]
    pub(super) fn of(file: SocketFile) -> Option<Self> {
        // SAFETY: `Probed` takes any address, and this is the open file's socket.
        unsafe {
            if !sock::is_tcp::<Probed>(file.sk) {
                return None;
            }
            let at = sock::endpoint::<Probed>(file.sk);
            if !filter::endpoint(at.family, at.lport, at.rport) {
                return None;
            }
            let id = sock::identity_probed(file.sk);
            Some(Self { file, at, id })
        }
    }

    /// Writes what identifies the socket and how it stands.
    ///
    /// # Safety
    ///
    /// `out` is part of a record that is being filled.
    #[inline(always)]
    pub(super) unsafe fn describe(&self, out: *mut SocketInfo) {
        // SAFETY: the socket is the open file's; `out` is the caller's promise.
        unsafe { sock::describe::<Probed>(self.file.sk, self.id, &self.at, out) }
    }
}
