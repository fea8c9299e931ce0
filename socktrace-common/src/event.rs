//! The records in the ring buffer: a header that says what follows, then one payload.
//!
//! They come in the order of a socket's life. A number that was ever given to a kind keeps its
//! meaning: recordings are read back by later versions.

use crate::{socket::SocketInfo, wire};

/// What a record tells. The numbers are in recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum EventKind {
    /// A process created a socket, or two: [`SocketEvent`], one for each.
    Socket = 1,
    /// `bind()` returned: [`CallEvent`].
    Bind = 2,
    /// `listen()` returned: [`CallEvent`], `arg` is the backlog.
    Listen = 3,
    /// `connect()` returned, or failed in `io_uring`: [`ConnectEvent`].
    Connect = 4,
    /// `accept()` or `accept4()` returned a socket: [`AcceptEvent`].
    Accept = 5,
    /// A TCP socket changed state: [`StateEvent`].
    State = 6,
    /// A process let go of a descriptor: [`CloseEvent`].
    Close = 7,
    /// A socket is gone: [`DestroyEvent`].
    Destroy = 8,
    /// First event of this process: [`ProcessEvent`].
    Process = 9,
    /// A known process forked: [`ForkEvent`].
    Fork = 10,
    /// A known process ran another program: [`ExecEvent`].
    Exec = 11,
    /// The last thread of a known process exits; its descriptors go next: no payload.
    Exit = 12,
    /// A known process closes several descriptors at once: [`DescriptorsEvent`].
    Descriptors = 13,
    /// What a Unix socket is called, before the record of the call that names it: [`NameEvent`].
    Name = 14,
    /// What happened to a young TCP socket, told at once: [`LifeEvent`].
    Life = 15,
}

impl EventKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Socket,
        Self::Bind,
        Self::Listen,
        Self::Connect,
        Self::Accept,
        Self::State,
        Self::Close,
        Self::Destroy,
        Self::Process,
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Descriptors,
        Self::Name,
        Self::Life,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Is it one of those that may be a [`Step`]?
    #[must_use]
    pub const fn is_step(self) -> bool {
        matches!(
            self,
            Self::Socket | Self::Connect | Self::Accept | Self::State | Self::Close | Self::Destroy
        )
    }

    /// Its bit in [`Config::kinds`](crate::config::Config::kinds).
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u16
    }
}

/// Words of 64 descriptors in a [`DescriptorSet`].
pub const DESCRIPTOR_WORDS: usize = 16;

/// Which of a process's first 1,024 descriptors are open: bit `n % 64` of word `n / 64` is
/// descriptor `n`. What lies above is not told.
pub type DescriptorSet = [u64; DESCRIPTOR_WORDS];

wire! {
    /// First part of every record.
    pub struct Header {
        /// `CLOCK_MONOTONIC`, nanoseconds.
        pub mono_ns: u64,
        /// Place in the sequence of this CPU; a record that found no room leaves a gap. [`UNNUMBERED`] of one
        /// that needed no room in the ring.
        pub seq: u64,
        /// An [`EventKind`] number.
        pub kind: u16,
        /// The CPU that wrote the record.
        pub cpu: u16,
        /// Process (thread group) that was running, as our pid namespace numbers it; 0 for one
        /// that is not in it.
        /// For a state change this is whoever was interrupted, unless the transition is one
        /// that only a system call makes.
        pub tgid: u32,
        /// Thread that was running, likewise.
        pub tid: u32,
        /// Of `socket()`, `connect()` and `accept()`: key of the caller's stack in the map `STACKS`,
        /// or a [`NoStack`](crate::stack::NoStack); 0 where nobody asked.
        pub stack: u32,
    }

    /// [`EventKind::Socket`].
    pub struct SocketEvent {
        /// First part of every record.
        pub header: Header,
        /// The new socket.
        pub socket: SocketInfo,
        /// Its descriptor; -1 for a direct one of `io_uring`, here and in what follows.
        pub fd: i32,
        /// `SOCK_*`, without the flags.
        pub socket_type: u32,
    }

    /// [`EventKind::Bind`] and [`EventKind::Listen`].
    pub struct CallEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket after the call.
        pub socket: SocketInfo,
        /// Descriptor that the call named; -1 where `io_uring` does not tell.
        pub fd: i32,
        /// What the call returned: 0 or a negative errno.
        pub ret: i32,
        /// The backlog of `listen()`. Of a `bind()` that failed the port that it asked for, host byte
        /// order, and 1 more: 0 where that is not known, or it asked for none.
        pub arg: i32,
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }

    /// [`EventKind::Connect`].
    pub struct ConnectEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket after the call.
        pub socket: SocketInfo,
        /// Descriptor that the call named; -1 where `io_uring` does not tell.
        pub fd: i32,
        /// What the call returned: 0 or a negative errno.
        pub ret: i32,
        /// The `sockaddr` that a failed call named, as the program gave it; zero otherwise.
        pub target: [u8; 28],
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }

    /// [`EventKind::Accept`].
    pub struct AcceptEvent {
        /// First part of every record.
        pub header: Header,
        /// The accepted socket.
        pub socket: SocketInfo,
        /// The listener's identity, as in [`SocketInfo::id`].
        pub listener: u64,
        /// The accepted socket's descriptor.
        pub fd: i32,
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }

    /// [`EventKind::State`]. `socket.state` is still the old one: the kernel announces a change
    /// before it makes it.
    pub struct StateEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket, still in its old state.
        pub socket: SocketInfo,
        /// `tcp_sock.bytes_acked`, on the way to CLOSE only: SYN and FIN count as a byte each.
        pub bytes_acked: u64,
        /// `tcp_sock.bytes_received`, on the way to CLOSE only: a FIN counts as a byte.
        pub bytes_received: u64,
        /// Old [`TcpState`](crate::socket::TcpState) number.
        pub old: u8,
        /// New [`TcpState`](crate::socket::TcpState) number.
        pub new: u8,
        /// [`STATE_FIN_RECEIVED`], or 0.
        pub flags: u16,
        /// `sk_err`, a positive errno or 0.
        pub error: i32,
        /// Descriptor of the `connect()` that runs, -1 where none does.
        pub connect_fd: i32,
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }

    /// [`EventKind::Close`].
    pub struct CloseEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket before it is let go.
        pub socket: SocketInfo,
        /// The descriptor.
        pub fd: i32,
        /// A [`ClosedBy`] number.
        pub by: u32,
        /// References to the open file that remain (descriptors of all processes, messages in
        /// flight, calls that run); -1 where this kernel does not show them.
        pub references_left: i64,
    }

    /// [`EventKind::Destroy`].
    pub struct DestroyEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket as it goes.
        pub socket: SocketInfo,
        /// `sk_err`, a positive errno or 0.
        pub error: i32,
        /// Keeps the size a multiple of 8.
        pub pad: u32,
    }

    /// [`EventKind::Process`].
    pub struct ProcessEvent {
        /// First part of every record; `tgid` is the process.
        pub header: Header,
        /// When it started, nanoseconds of `CLOCK_BOOTTIME`: tells two processes with one pid apart.
        pub start_ns: u64,
        /// Name of its main thread, NUL-padded.
        pub comm: [u8; 16],
    }

    /// [`EventKind::Fork`].
    pub struct ForkEvent {
        /// First part of every record; `tgid` is the parent.
        pub header: Header,
        /// When the child started, nanoseconds of `CLOCK_BOOTTIME`.
        pub start_ns: u64,
        /// The child's name, NUL-padded.
        pub comm: [u8; 16],
        /// The child.
        pub child: u32,
        /// 1 where parent and child share one descriptor table (`CLONE_FILES`).
        pub shares_descriptors: u32,
    }

    /// [`EventKind::Exec`].
    pub struct ExecEvent {
        /// First part of every record.
        pub header: Header,
        /// The new name, NUL-padded.
        pub comm: [u8; 16],
        /// What is open after the close-on-exec descriptors went.
        pub open: DescriptorSet,
    }

    /// [`EventKind::Descriptors`].
    pub struct DescriptorsEvent {
        /// First part of every record.
        pub header: Header,
        /// A [`ClosedBy`] number.
        pub by: u32,
        /// Keeps what follows 8-byte aligned.
        pub pad: u32,
        /// What stays open.
        pub open: DescriptorSet,
    }

    /// [`EventKind::Name`].
    pub struct NameEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket after the call.
        pub socket: SocketInfo,
        /// A [`NameOf`] number.
        pub of: u16,
        /// How much of `name` is the name, at most all of it.
        pub length: u16,
        /// `sun_path`, as it was given: a path that may end with a NUL, or a NUL and an abstract
        /// name. Zero beyond the name.
        pub name: [u8; NAME_BYTES],
    }

    /// [`EventKind::Life`].
    pub struct LifeEvent {
        /// First part of every record.
        pub header: Header,
        /// The socket, with the addresses and ports that it had in the end.
        pub socket: SocketInfo,
        /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
        pub began_ns: u64,
        /// `tcp_sock.bytes_acked`, as in [`StateEvent`], of the last change to CLOSE.
        pub bytes_acked: u64,
        /// `tcp_sock.bytes_received`, likewise.
        pub bytes_received: u64,
        /// If it was accepted, the listener's identity as in [`SocketInfo::id`].
        pub listener: u64,
        /// How many of `steps` there are.
        pub count: u64,
        /// What happened, in its order. Beyond `count` there may be anything.
        pub steps: [Step; STEPS],
    }

    /// One thing that happened to a socket: what a record of `kind` would say, less what a
    /// [`LifeEvent`] says of the socket once. Small, as each byte of a record is cold memory.
    pub struct Step {
        /// Nanoseconds since [`LifeEvent::began_ns`].
        pub after_ns: u32,
        /// The process that was running, as in [`Header`].
        pub tgid: u32,
        /// The descriptor of the call; of a state change that of the `connect()` that runs.
        pub fd: i32,
        /// Socket: `SOCK_*`. Connect: what it returned. Close: references that remain. Destroy, and a
        /// change to CLOSE: `sk_err`. Of a larger number the largest that there is room for.
        pub value: i16,
        /// An [`EventKind`] number: socket, connect, accept, state, close or destroy; and 16 times
        /// [`STATE_FIN_RECEIVED`], of a change to CLOSE.
        pub kind: u8,
        /// Of a state change the old state and 16 times the new one; of a close a [`ClosedBy`]
        /// number.
        pub states: u8,
    }
}

/// [`Header::seq`] of a life that was left on a [`Shelf`](crate::shelf::Shelf).
pub const UNNUMBERED: u64 = u64::MAX;

/// Room for steps in a [`LifeEvent`]: a connection in order has nine on the side that opens it.
pub const STEPS: usize = 10;

/// Bytes of `sun_path` (include/uapi/linux/un.h).
pub const NAME_BYTES: usize = 108;

/// Whose name a [`NameEvent`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum NameOf {
    /// The socket's own.
    Local = 1,
    /// That of the peer to which it was just connected.
    Remote = 2,
    /// The one that a call asked for which failed.
    Asked = 3,
}

impl NameOf {
    /// The one with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Local),
            2 => Some(Self::Remote),
            3 => Some(Self::Asked),
            _ => None,
        }
    }
}

/// [`StateEvent::flags`]: the peer's FIN has arrived.
pub const STATE_FIN_RECEIVED: u16 = 2;

/// How a descriptor went, as far as the kernel side can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClosedBy {
    /// `close()`.
    Close = 1,
    /// `dup2()` or `dup3()` put another file in its place.
    Dup = 2,
    /// `execve()` closes what is marked close-on-exec.
    Exec = 3,
    /// `close_range()`.
    CloseRange = 4,
}

impl ClosedBy {
    /// The cause with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Close),
            2 => Some(Self::Dup),
            3 => Some(Self::Exec),
            4 => Some(Self::CloseRange),
            _ => None,
        }
    }
}
