//! The socket that a system call is about.

use socktrace_common::{
    config::HAVE_RELEASE,
    event::{EventKind, LifeEvent},
    socket::{Protocol, SocketInfo},
};

use crate::{
    constant::config,
    filter::{self, MapFull},
    kernel::{
        Cast,
        file::SocketFile,
        pid,
        sock::{self, Endpoint, Kind},
    },
    life,
};

/// A socket of the running process that may pass the filters.
#[derive(Clone, Copy)]
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

/// The life of the socket behind this file, if it is kept: then no more of the socket need be read.
#[inline(always)]
pub(super) fn young(file: &SocketFile) -> Option<*mut LifeEvent> {
    if !life::folding() {
        return None;
    }
    // SAFETY: this is the open file's socket, which was cast.
    life::of(unsafe { sock::cookie::<Cast>(file.sk) })
}

impl Subject {
    /// A new socket that may have a life which is kept: over TCP, with a cookie. Others are told of.
    #[inline(always)]
    pub(super) fn newborn(file: &SocketFile) -> Option<(u64, Kind)> {
        if !life::folding() {
            return None;
        }
        // SAFETY: this is the open file's socket, which was cast.
        unsafe {
            let kind = sock::kind::<Cast>(file.sk);
            let wanted = kind.protocol == Protocol::Tcp && filter::protocol(Protocol::Tcp);
            wanted.then(|| (sock::cookie::<Cast>(file.sk), kind))
        }
    }

    /// The socket, unless it is not wanted.
    #[inline(always)]
    pub(super) fn of(file: SocketFile) -> Option<Self> {
        // SAFETY: this is the open file's socket, which was cast.
        unsafe {
            let kind = sock::kind::<Cast>(file.sk);
            if !filter::protocol(kind.protocol) {
                return None;
            }
            let at = sock::endpoint::<Cast>(file.sk, kind);
            if !filter::endpoint(&at) {
                return None;
            }
            let id = sock::identity_any(file.sk, kind.protocol);
            Some(Self { file, at, id })
        }
    }

    /// From now on what is told of the socket outside its process's calls passes, if only some
    /// processes are followed.
    #[inline(always)]
    pub(super) fn follow(&self) -> Result<(), MapFull> {
        if self.ends_by_close() {
            // Nothing is.
            return Ok(());
        }
        filter::follow(self.id)
    }

    /// Does nothing tell of its end but the `close()` that leaves no reference?
    #[inline(always)]
    pub(super) fn ends_by_close(&self) -> bool {
        let kind = self.at.kind;
        let told = kind.is_released() && config!(flags) & HAVE_RELEASE != 0;
        kind.protocol != Protocol::Tcp && !told
    }

    /// Its `sk_err`.
    #[inline(always)]
    pub(super) fn error(&self) -> i32 {
        // SAFETY: the socket was cast.
        unsafe { sock::error::<Cast>(self.file.sk) }
    }

    /// Writes what identifies the socket and how it stands.
    ///
    /// # Safety
    ///
    /// `out` is part of a record that is being filled.
    #[inline(always)]
    pub(super) unsafe fn describe(&self, out: *mut SocketInfo) {
        // SAFETY: the socket is the open file's; `out` is the caller's promise.
        unsafe { sock::describe::<Cast>(self.file.sk, self.id, &self.at, out) }
    }
}
