//! `struct io_kiocb`, a request of `io_uring`, and the direct descriptors of a ring.

use aya_ebpf::programs::BtfTracePointContext;
use socktrace_common::config::URING_CQE;

use super::{
    Memory as _, Probed, Typed,
    file::{self, SocketFile},
    present,
};
use crate::constant::{Fixed, Place, config, offset};

/// `enum io_uring_op` (`include/uapi/linux/io_uring.h`): what is asked for.
pub(crate) const ACCEPT: u8 = 13;
pub(crate) const CONNECT: u8 = 16;
pub(crate) const CLOSE: u8 = 19;
/// 5.19.
pub(crate) const SOCKET: u8 = 45;
/// 6.11.
pub(crate) const BIND: u8 = 56;
/// 6.11.
pub(crate) const LISTEN: u8 = 57;

/// `IOSQE_*`, the first bits of `io_kiocb.flags`: the descriptor is a direct one; another thread is
/// to do it; no completion is wanted unless it fails.
const FIXED_FILE: u32 = 1;
const ASYNC: u32 = 1 << 4;
const CQE_SKIP_SUCCESS: u32 = 1 << 6;
/// `IORING_ACCEPT_MULTISHOT`.
const MULTISHOT: u32 = 1;
/// `IORING_CQE_F_MORE`: further completions of the same request follow.
const MORE: u32 = 2;
/// `IORING_FILE_INDEX_ALLOC`: any free slot, which the result then is.
const ANY_SLOT: u32 = u32::MAX;
/// In `file_ptr`, what belongs to the pointer: the bits below say things about the file
/// (`FFS_MASK`, `io_uring/filetable.h`).
const FILE_POINTER: u64 = !7;

/// A request, which stays in its place until it is completed.
#[derive(Clone, Copy)]
pub(crate) struct Request(*const u8);

impl Request {
    /// The argument of `io_uring_submit_req`, and its opcode.
    #[inline(always)]
    pub(crate) fn submitted(context: &BtfTracePointContext) -> (Self, u8) {
        let request = context.arg::<*const u8>(0);
        // SAFETY: the argument is a typed request.
        let opcode = unsafe { Typed::read(request, offset!(uring_opcode)) };
        (Self(request), opcode)
    }

    #[inline(always)]
    pub(crate) fn opcode(self) -> u8 {
        self.read(offset!(uring_opcode))
    }

    /// What tells it from others that are under way.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub(crate) fn user_data(self) -> u64 {
        self.read(offset!(uring_user_data))
    }

    #[inline(always)]
    pub(crate) fn ring(self) -> Ring {
        Ring(self.read::<usize>(offset!(uring_ctx)) as *const u8)
    }

    /// The socket that it is about, while it is carried out.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<SocketFile> {
        file::socket_of(self.read::<usize>(offset!(uring_file)) as *const u8)
    }

    /// The socket that it names, before it is carried out.
    #[inline(always)]
    pub(crate) fn named_socket(self) -> Option<SocketFile> {
        let fd = self.read::<i32>(offset!(uring_fd));
        if self.flags() & FIXED_FILE != 0 {
            self.ring().socket(fd as u32)
        } else {
            file::socket(fd)
        }
    }

    /// Does it go on after its first completion? Before 6.10 that is not to be seen.
    #[inline(always)]
    pub(crate) fn may_be_multishot(self) -> bool {
        let flags = offset!(uring_accept_flags);
        !present(flags) || self.command::<u32>(flags) & MULTISHOT != 0
    }

    /// May it be over without a word, or its file be gone before a word comes?
    #[inline(always)]
    pub(crate) fn may_be_silent(self) -> bool {
        self.flags() & (CQE_SKIP_SUCCESS | ASYNC) != 0
    }

    /// A field of what its opcode defines.
    #[inline(always)]
    pub(crate) fn command<T: Copy + Default>(self, field: impl Place) -> T {
        let at = offset!(uring_cmd).number() + field.number();
        // SAFETY: `Probed` takes any address.
        unsafe { Probed::at(self.0, at) }
    }

    #[inline(always)]
    fn flags(self) -> u32 {
        self.read::<u64>(offset!(uring_flags)) as u32
    }

    #[inline(always)]
    fn read<T: Copy + Default>(self, field: impl Place) -> T {
        // SAFETY: `Probed` takes any address.
        unsafe { Probed::read(self.0, field) }
    }
}

/// A ring, `struct io_ring_ctx`.
#[derive(Clone, Copy)]
pub(crate) struct Ring(*const u8);

impl Ring {
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// The socket in a slot of the ring: a direct descriptor.
    #[inline(always)]
    pub(crate) fn socket(self, slot: u32) -> Option<SocketFile> {
        let nodes = offset!(uring_nodes);
        if !present(nodes) {
            return None;
        }
        // SAFETY: `Probed` takes any address.
        unsafe {
            if slot >= Probed::read::<u32>(self.0, offset!(uring_nodes_count)) {
                return None;
            }
            let nodes = Probed::pointer(self.0, nodes);
            let node = Probed::at::<usize>(nodes, slot.wrapping_mul(8)) as *const u8;
            let file = Probed::read::<u64>(node, offset!(uring_node_file)) & FILE_POINTER;
            file::socket_of(file as *const u8)
        }
    }

    /// The socket that a request made, and its descriptor, -1 for a direct one. `slot` is what
    /// the request asked for: 0 for a common descriptor, else the slot's number plus one.
    #[inline(always)]
    pub(crate) fn made(self, slot: u32, result: i32) -> Option<(SocketFile, i32)> {
        if slot == 0 {
            return Some((file::socket(result)?, result));
        }
        let slot = if slot == ANY_SLOT {
            result as u32
        } else {
            slot - 1
        };
        Some((self.socket(slot)?, -1))
    }
}

/// What `io_uring_complete` tells.
pub(crate) struct Completion {
    pub(crate) ring: Ring,
    /// `None` for all but the last completion of a request that goes on.
    pub(crate) request: Option<Request>,
    pub(crate) user_data: u64,
    /// What the system call would have returned.
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    #[inline(always)]
    pub(crate) fn of(context: &BtfTracePointContext) -> Self {
        let ring = Ring(context.arg(0));
        let request = context.arg::<*const u8>(1);
        let request = (!request.is_null()).then_some(Request(request));
        if config!(flags) & URING_CQE == 0 {
            return Self {
                ring,
                request,
                user_data: context.arg(2),
                result: context.arg(3),
                flags: context.arg(4),
            };
        }
        let cqe = context.arg::<*const u8>(2);
        // SAFETY: the argument is a typed `struct io_uring_cqe { user_data, res, flags }`, whose
        // layout is ABI.
        unsafe {
            Self {
                ring,
                request,
                user_data: Typed::read(cqe, Fixed::<0>),
                result: Typed::read(cqe, Fixed::<8>),
                flags: Typed::read(cqe, Fixed::<12>),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn is_last(&self) -> bool {
        self.flags & MORE == 0
    }
}
