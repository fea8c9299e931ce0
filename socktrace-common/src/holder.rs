//! What the iterator over open files writes: who holds which socket or pipe.

use crate::wire;

/// [`HolderRecord::kind`]: a socket.
pub const HOLDS_SOCKET: u8 = 1;
/// [`HolderRecord::kind`]: an end of an anonymous pipe.
pub const HOLDS_PIPE: u8 = 2;

/// [`HolderRecord::mode`]: open for reading (`FMODE_READ`, include/linux/fs.h).
pub const MODE_READ: u8 = 1;
/// [`HolderRecord::mode`]: open for writing (`FMODE_WRITE`).
pub const MODE_WRITE: u8 = 2;

wire! {
    /// One descriptor of one process.
    ///
    /// The socket's fields are there because a socket that is dead but open is in no other list:
    /// they are zero for a pipe.
    pub struct HolderRecord {
        /// The socket's cookie, 0 where the kernel gives none (before 5.12).
        pub cookie: u64,
        /// When the process started: `CLOCK_BOOTTIME`, nanoseconds. Another process may get its
        /// number later.
        pub start_ns: u64,
        /// The process, as our pid namespace numbers it.
        pub tgid: u32,
        /// The descriptor.
        pub fd: u32,
        /// Inode number in sockfs or pipefs.
        pub inode: u32,
        /// Inode number of the socket's network namespace.
        pub netns: u32,
        /// `IPPROTO_*`.
        pub proto: u16,
        /// `AF_*`.
        pub family: u16,
        /// Local port, host byte order; 0 if it is not bound, and outside IPv4 and IPv6.
        pub lport: u16,
        /// `SOCK_*`.
        pub socket_type: u16,
        /// TCP state, a [`TcpState`](crate::socket::TcpState) number; other protocols use
        /// some of them too.
        pub state: u8,
        /// `RCV_SHUTDOWN` (1) and `SEND_SHUTDOWN` (2).
        pub shutdown: u8,
        /// [`MODE_READ`] and [`MODE_WRITE`]: which end of a pipe it is.
        pub mode: u8,
        /// [`HOLDS_SOCKET`] or [`HOLDS_PIPE`].
        pub kind: u8,
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }
}
