//! Every map, in one place.
//!
//! No map here is an LRU: it would forget the oldest entries first, and those are the leaks.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use socktrace_common::{
    config::PORT_WORDS, counters::SLOTS, event::LifeEvent, shelf::Shelf, socket::SocketInfo,
    stack::Stack,
};

use crate::atomic::fetch_add;

/// Records for user space; the size is set when the object is loaded.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 23, 0);

/// Counters of this CPU, see [`socktrace_common::counters`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<[u64; SLOTS]> = PerCpuArray::with_max_entries(1, 0);

/// What this CPU numbers: [`NEXT_RECORD`] and [`NEXT_IDENTITY`].
#[map]
pub(crate) static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);
/// Slot of [`SEQUENCE`]: the next record.
pub(crate) const NEXT_RECORD: u32 = 0;
/// Slot of [`SEQUENCE`]: the next identity that is made up.
pub(crate) const NEXT_IDENTITY: u32 = 1;

/// Takes the next number of this CPU. Atomic, because a softirq on this CPU can take one in
/// between.
#[inline(always)]
pub(crate) fn take_number(slot: u32) -> Option<u64> {
    let next = SEQUENCE.get_ptr_mut(slot)?;
    // SAFETY: the map's value is one aligned u64.
    Some(unsafe { fetch_add(next, 1) })
}

/// Not 0 once a child of a listener was seen that was still its copy, see `hooks/child.rs`.
#[map]
pub(crate) static COPIES: Array<u32> = Array::with_max_entries(1, 0);

/// Processes to follow, when only some are: tgid. Here and below as `task` numbers them.
#[map]
pub(crate) static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 0);

/// Processes that user space has been told of: tgid.
#[map]
pub(crate) static PROCESSES: HashMap<u32, u8> = HashMap::with_max_entries(32_768, 0);

/// How many processes have ended, and for each CPU the process of which it was last seen that user space
/// had been told (upper half), and how many had ended by then. As long as none has ended since, the same number
/// is the same process.
#[map]
pub(crate) static ENDED: Array<u64> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static LAST_KNOWN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The thread (`bpf_get_current_pid_tgid()`) that was last seen in a `connect()` of which states tell on this CPU,
/// and how often it had been switched by then.
#[map]
pub(crate) static CONNECTING: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Sockets of the followed processes: identity. A state change runs in the context of whoever was
/// interrupted, so its process says nothing about whose socket it is.
#[map]
pub(crate) static SOCKETS: HashMap<u64, u8> = HashMap::with_max_entries(131_072, 0);

/// Listeners of the followed processes, how many by (netns, port). Their children have no owner
/// until they are accepted.
#[map]
pub(crate) static LISTENERS: HashMap<u64, u64> = HashMap::with_max_entries(4_096, 0);

/// Wanted local ports, then wanted remote ports, a bit each.
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(2 * PORT_WORDS, 0);

/// Identities made up for sockets without a cookie, by their address: only where tracing programs
/// may not ask for a cookie. The address never leaves the kernel.
#[map]
pub(crate) static IDENTITIES: HashMap<u64, u64> = HashMap::with_max_entries(131_072, 0);

/// Multishot accepts of `io_uring` that are under way, by the address of their ring and the number
/// that their program gave them: their completions say nothing else.
#[map]
pub(crate) static ACCEPTING: HashMap<[u64; 2], Accepting> = HashMap::with_max_entries(4_096, 0);

/// A multishot accept.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Accepting {
    /// Identity of the listener, 0 if it is not known.
    pub(crate) listener: u64,
    /// The process that asked for it.
    pub(crate) tgid: u32,
    /// Where the sockets go, see [`crate::kernel::uring::Ring::made`].
    pub(crate) slot: u32,
}

/// Closes of `io_uring` that are under way, by the address of their request.
#[map]
pub(crate) static CLOSING: HashMap<u64, Closing> = HashMap::with_max_entries(4_096, 0);

/// What a close is about: when it is done, its descriptor names nothing.
#[repr(C)]
pub(crate) struct Closing {
    pub(crate) socket: SocketInfo,
    pub(crate) references_left: i64,
    pub(crate) fd: i32,
    /// Not 0: nothing else tells of the socket's end if this is its last reference.
    pub(crate) ends: u32,
}

/// Lives of young TCP sockets, each in one of the two places that its cookie has: cookies are numbers in a
/// row, so those of young sockets seldom share one. There are more places when lives are folded.
#[map]
pub(crate) static LIVES: Array<LifeEvent> = Array::with_max_entries(1, 0);

/// Lives that are over, see [`crate::shelf`]: how far each CPU's shelf is filled, and the places of all.
#[map]
pub(crate) static SHELVES: Array<Shelf> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static SHELVED: Array<LifeEvent> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Stacks of the calls that make sockets, by the numbers that records have for them. There is room for
/// more when user space asks for stacks.
#[map]
pub(crate) static STACKS: HashMap<u32, Stack> = HashMap::with_max_entries(1, 0);

/// The stack that is being read on this CPU: too big for a program's own.
#[map]
pub(crate) static STACK: PerCpuArray<Stack> = PerCpuArray::with_max_entries(1, 0);

/// Ports that `connect()` does not share, a bit each: what the iterator over TCP sockets finds.
#[map]
pub(crate) static BLOCKED: Array<[u64; PORT_WORDS as usize]> = Array::with_max_entries(1, 0);
