//! From a descriptor to its socket.

use super::{
    Cast, Memory as _,
    cast::cast,
    present,
    sock::Sock,
    task::{self, OfTask},
};
use crate::constant::{Fixed, offset};

/// `S_IFMT` and `S_IFSOCK`.
const TYPE_MASK: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// An open file that is a socket.
#[derive(Clone, Copy)]
pub(crate) struct SocketFile {
    file: *const u8,
    pub(crate) sk: Sock,
}

/// The socket behind a descriptor of the running process, if it is one.
#[inline(always)]
pub(crate) fn socket(fd: i32) -> Option<SocketFile> {
    Descriptors::of_running().socket(fd)
}

/// The socket that is this open file, if it is one.
#[inline(always)]
pub(crate) fn socket_of(file: *const u8) -> Option<SocketFile> {
    // SAFETY: each address is cast to what it is before it is read through.
    unsafe {
        let file = cast(file, offset!(type_file));
        let inode = Cast::pointer(file, offset!(file_inode));
        if Cast::read::<u16>(inode, offset!(inode_mode)) & TYPE_MASK != SOCKET {
            return None;
        }
        // Null for a descriptor that was opened with O_PATH.
        let socket = Cast::read::<usize>(file, offset!(file_private_data)) as *const u8;
        if socket.is_null() {
            return None;
        }
        let socket = cast(socket, offset!(type_socket));
        let sk = Cast::pointer(socket, offset!(socket_sk));
        (!sk.is_null()).then_some(SocketFile { file, sk })
    }
}

/// The `struct file` behind a descriptor of the running process.
#[inline(always)]
pub(crate) fn open_file(fd: i32) -> Option<*const u8> {
    Descriptors::of_running().file(fd)
}

/// A process's table of descriptors, as it is now.
#[derive(Clone, Copy)]
pub(crate) struct Descriptors {
    /// Of pointers to files, so many.
    array: *const u8,
    length: u32,
}

impl Descriptors {
    #[inline(always)]
    pub(crate) fn of_running() -> Self {
        // SAFETY: the table's type is known to the verifier.
        unsafe {
            let table = OfTask::pointer(task::files(task::current()), offset!(files_fdt));
            Self {
                length: OfTask::read(table, offset!(fdt_max_fds)),
                array: OfTask::read::<usize>(table, offset!(fdt_fd)) as *const u8,
            }
        }
    }

    /// The socket behind a descriptor, if it is one.
    ///
    /// Bounds first: an address beyond the table costs a fault. Then only sockets: another file's
    /// private data is not a socket.
    #[inline(always)]
    pub(crate) fn socket(self, fd: i32) -> Option<SocketFile> {
        socket_of(self.file(fd)?)
    }

    #[inline(always)]
    fn file(self, fd: i32) -> Option<*const u8> {
        if fd < 0 || fd as u32 >= self.length {
            return None;
        }
        // SAFETY: the array is read within its bounds, a place at a time as if it were another struct
        // that begins with a pointer.
        unsafe {
            let place = cast(
                self.array.wrapping_add(fd as usize * 8),
                offset!(type_list_head),
            );
            let file = Cast::read::<usize>(place, Fixed::<0>) as *const u8;
            (!file.is_null()).then_some(file)
        }
    }
}

impl SocketFile {
    /// References to the file that remain when this descriptor goes; -1 where unknown.
    #[inline(always)]
    pub(crate) fn references_left(&self) -> i64 {
        // SAFETY: the file was cast.
        unsafe {
            if present(offset!(file_ref)) {
                // file_ref_t counts from 0 for one reference (include/linux/file_ref.h, 6.13).
                Cast::read(self.file, offset!(file_ref))
            } else if present(offset!(file_count)) {
                Cast::read::<i64>(self.file, offset!(file_count)) - 1
            } else {
                -1
            }
        }
    }
}
