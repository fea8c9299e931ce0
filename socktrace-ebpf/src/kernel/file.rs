//! From a descriptor to its socket.

use super::{
    Memory as _, Probed, present,
    sock::Sock,
    task::{self, OfTask},
};
use crate::maps::offset;

/// `S_IFMT` and `S_IFSOCK`.
const TYPE_MASK: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// An open file that is a socket.
pub(crate) struct SocketFile {
    file: *const u8,
    pub(crate) sk: Sock,
}

/// The socket behind a descriptor of the running process, if it is one.
///
/// Bounds first: an address beyond the table costs a fault. Then only sockets: another file's
/// private data is not a socket.
#[inline(always)]
pub(crate) fn socket(fd: i32) -> Option<SocketFile> {
    socket_of(open_file(fd)?)
}

/// The socket that is this open file, if it is one.
#[inline(always)]
pub(crate) fn socket_of(file: *const u8) -> Option<SocketFile> {
    // SAFETY: `Probed` takes any address.
    unsafe {
        let inode = Probed::pointer(file, offset!(file_inode));
        if Probed::read::<u16>(inode, offset!(inode_mode)) & TYPE_MASK != SOCKET {
            return None;
        }
        // Null for a descriptor that was opened with O_PATH.
        let socket = Probed::pointer(file, offset!(file_private_data));
        if socket.is_null() {
            return None;
        }
        let sk = Probed::pointer(socket, offset!(socket_sk));
        (!sk.is_null()).then_some(SocketFile { file, sk })
    }
}

/// The `struct file` behind a descriptor of the running process.
#[inline(always)]
pub(crate) fn open_file(fd: i32) -> Option<*const u8> {
    // SAFETY: the table's type is known to the verifier; the array behind it is read with
    // `Probed`, within its bounds.
    unsafe {
        let table = OfTask::pointer(task::files(task::current()), offset!(files_fdt));
        if fd < 0 || fd as u32 >= OfTask::read::<u32>(table, offset!(fdt_max_fds)) {
            return None;
        }
        let array = OfTask::read::<usize>(table, offset!(fdt_fd)) as *const u8;
        let file = Probed::pointer(array, fd as u32 * 8);
        (!file.is_null()).then_some(file)
    }
}

impl SocketFile {
    /// References to the file that remain when this descriptor goes; -1 where unknown.
    #[inline(always)]
    pub(crate) fn references_left(&self) -> i64 {
        // SAFETY: `Probed` takes any address.
        unsafe {
            if present(offset!(file_ref)) {
                // file_ref_t counts from 0 for one reference (include/linux/file_ref.h, 6.13).
                Probed::read(self.file, offset!(file_ref))
            } else if present(offset!(file_count)) {
                Probed::read::<i64>(self.file, offset!(file_count)) - 1
            } else {
                -1
            }
        }
    }
}
