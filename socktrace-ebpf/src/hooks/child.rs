//! The first change of a listener's child, where the kernel tells of it too early.
//!
//! Older kernels announce `LISTEN -> SYN_RECV` when the child is no more than a copy of its listener, with
//! the listener's cookie and without a remote port (`inet_csk_clone_lock()`,
//! `net/ipv4/inet_connection_sock.c`: 5.10 does; in 6.18 the child is itself by then). What would be told of
//! it would be taken for the listener's. So there that change is told with the next, which follows in the
//! same softirq; after a TCP Fast Open, when the handshake ends.

use crate::{
    kernel::sock::{self, Sock, SockMemory},
    maps::COPIES,
};

/// Is this child still a copy of its listener? A child of its own has a remote port.
#[inline(always)]
pub(super) unsafe fn is_copy<M: SockMemory>(sk: Sock) -> bool {
    // SAFETY: the caller's socket fits `M`, and is over TCP or has no use for the answer.
    unsafe { sock::is_tcp::<M>(sk) && sock::remote_port::<M>(sk) == 0 }
}

/// Remembers that this kernel tells of children too early.
#[inline(always)]
pub(super) fn comes_later() {
    if let Some(copies) = COPIES.get_ptr_mut(0) {
        // SAFETY: it points to the map's value, which only ever becomes 1.
        unsafe { copies.write_volatile(1) };
    }
}

/// Is the first change of children told with their second?
#[inline(always)]
pub(super) fn come_later() -> bool {
    COPIES.get(0).is_some_and(|&copies| copies != 0)
}
