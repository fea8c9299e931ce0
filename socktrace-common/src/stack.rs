//! Where a call came from: the user stack of the program that made it, kept once in the map
//! `STACKS` and named by a number in the call's record.
//!
//! The kernel walks frame pointers (`bpf_get_stack`). The function that a system call's wrapper in
//! libc returns to is in no such chain, for the wrapper makes no frame: it is somewhere on top of the
//! stack, so what stands there is kept beside the frames.

use crate::wire;

/// Addresses that are kept of a stack: `sysctl kernel.perf_event_max_stack` may allow fewer.
pub const STACK_FRAMES: usize = 112;

/// Words on top of the stack that may be the return address of a wrapper.
pub const STACK_TOP: usize = 8;

/// Numbers below this are no key of a stack: 0 where nobody asked for one, else a [`NoStack`].
pub const FIRST_KEY: u32 = 16;

wire! {
    /// A user stack.
    pub struct Stack {
        /// The half of its hash that is not its key: another stack may have the same key.
        pub check: u32,
        /// How many of `frames` there are.
        pub length: u32,
        /// Words from the stack pointer on that a call instruction may have put there, else 0.
        pub top: [u64; STACK_TOP],
        /// Where the program entered the kernel, then return addresses, the innermost first. What is
        /// beyond `length` means nothing.
        pub frames: [u64; STACK_FRAMES],
    }
}

/// Why a call has no stack. The numbers stand in records in the place of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum NoStack {
    /// The kernel could not read it.
    Unreadable = 1,
    /// The map has no room.
    Full = 2,
    /// Another stack has its key.
    Collision = 3,
    /// `io_uring` made the call: the program was elsewhere when it was carried out.
    Ring = 4,
}

impl NoStack {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Unreadable, Self::Full, Self::Collision, Self::Ring];

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as u32 == number)
    }
}
