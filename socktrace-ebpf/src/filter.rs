//! What is not wanted goes first. What cannot be decided here is decided by user space.

use socktrace_common::{
    config::{
        FILTER_LOCAL_PORTS, FILTER_PIDS, FILTER_REMOTE_PORTS, ONLY_IPV4, ONLY_IPV6, PORT_WORDS,
    },
    event::EventKind,
    socket::{FAMILY_IPV4, FAMILY_IPV6, Protocol},
};

use crate::{
    atomic::add,
    constant::config,
    kernel::sock::Endpoint,
    maps::{LISTENERS, PIDS, PORTS, SOCKETS},
};

/// Room is gone in a map of the kernel side.
pub(crate) struct MapFull;

/// Does user space want this kind of event at all?
#[inline(always)]
pub(crate) fn kind(kind: EventKind) -> bool {
    config!(kinds) & kind.bit() != 0
}

/// Does user space want sockets of this protocol?
#[inline(always)]
pub(crate) fn protocol(protocol: Protocol) -> bool {
    config!(protocols) & protocol.bit() != 0
}

/// Are only some processes followed?
#[inline(always)]
pub(crate) fn by_process() -> bool {
    config!(flags) & FILTER_PIDS != 0
}

/// May events of this running process pass?
#[inline(always)]
pub(crate) fn process(tgid: u32) -> bool {
    // SAFETY: the value is only tested for being there.
    tgid != config!(own_tgid) && (!by_process() || unsafe { PIDS.get(tgid) }.is_some())
}

/// May a socket with these ports and this family pass? A port of 0 is not set yet and passes; one
/// that can have none does not.
#[inline(always)]
pub(crate) fn endpoint(at: &Endpoint) -> bool {
    let flags = config!(flags);
    if flags & ONLY_IPV4 != 0 && at.family != FAMILY_IPV4 {
        return false;
    }
    if flags & ONLY_IPV6 != 0 && at.family != FAMILY_IPV6 {
        return false;
    }
    if flags & (FILTER_LOCAL_PORTS | FILTER_REMOTE_PORTS) != 0 && !at.kind.protocol.has_ports() {
        return false;
    }
    if flags & FILTER_LOCAL_PORTS != 0 && at.lport != 0 && !port(0, at.lport) {
        return false;
    }
    flags & FILTER_REMOTE_PORTS == 0 || at.rport == 0 || port(PORT_WORDS, at.rport)
}

#[inline(always)]
fn port(base: u32, port: u16) -> bool {
    PORTS
        .get(base + u32::from(port) / 64)
        .is_some_and(|word| word & (1 << (port % 64)) != 0)
}

/// From now on the state changes of this socket pass, if only some processes are followed.
#[inline(always)]
pub(crate) fn follow(id: u64) -> Result<(), MapFull> {
    if !by_process() || id == 0 {
        return Ok(());
    }
    SOCKETS.insert(id, 1, 0).map_err(|_| MapFull)
}

/// Is the socket one of a followed process?
#[inline(always)]
pub(crate) fn followed(id: u64) -> bool {
    // SAFETY: the value is only tested for being there.
    !by_process() || unsafe { SOCKETS.get(id) }.is_some()
}

/// Forgets a destroyed socket; says whether it was followed.
#[inline(always)]
pub(crate) fn forget(id: u64) -> bool {
    !by_process() || SOCKETS.remove(id).is_ok()
}

#[inline(always)]
fn listener_key(netns: u32, port: u16) -> u64 {
    u64::from(netns) << 32 | u64::from(port)
}

/// A followed process listens here: children of this port are followed before they are accepted.
#[inline(always)]
pub(crate) fn listen(netns: u32, port: u16) -> Result<(), MapFull> {
    if !by_process() {
        return Ok(());
    }
    let key = listener_key(netns, port);
    if let Some(count) = LISTENERS.get_ptr_mut(key) {
        // SAFETY: it points to the map's value.
        unsafe { add(count, 1) };
        return Ok(());
    }
    LISTENERS.insert(key, 1, 0).map_err(|_| MapFull)
}

/// One of the listeners here is gone.
#[inline(always)]
pub(crate) fn unlisten(netns: u32, port: u16) {
    let key = listener_key(netns, port);
    let Some(count) = LISTENERS.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: it points to the map's value.
    if unsafe { *count } > 1 {
        // SAFETY: as above.
        unsafe { add(count, u64::MAX) };
    } else {
        // Gone already if two closed at once.
        _ = LISTENERS.remove(key);
    }
}

/// Does a followed process listen here?
#[inline(always)]
pub(crate) fn listened(netns: u32, port: u16) -> bool {
    // SAFETY: the value is only tested for being there.
    unsafe { LISTENERS.get(listener_key(netns, port)) }.is_some()
}
