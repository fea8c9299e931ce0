//! What Unix sockets are called. Told before the record of the call, which has no room for it.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
};
use socktrace_common::{
    counters::Outcome,
    event::{EventKind, NAME_BYTES, NameEvent, NameOf},
    socket::{FAMILY_UNIX, Protocol},
};

use super::subject::Subject;
use crate::{
    emit::{Context, emit, run},
    filter,
    kernel::unix::{self, Name},
};

/// In whose memory a name is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Kernel,
    Process,
}

/// Are names of this socket told?
#[inline(always)]
fn has_name(socket: Subject) -> bool {
    socket.at.kind.protocol == Protocol::Unix && filter::kind(EventKind::Name)
}

/// The socket's own name.
#[inline(always)]
pub(super) fn local(context: &impl EbpfContext, socket: Subject) {
    if !has_name(socket) {
        return;
    }
    // SAFETY: the socket is a Unix socket.
    let name = unsafe { unix::name(socket.file.sk) };
    tell(context, socket, NameOf::Local, Memory::Kernel, name);
}

/// The name of the socket to which it was connected.
#[inline(always)]
pub(super) fn remote(context: &impl EbpfContext, socket: Subject) {
    if !has_name(socket) {
        return;
    }
    // SAFETY: the socket is a Unix socket, and so is its peer.
    let name = unsafe {
        let peer = unix::peer(socket.file.sk);
        if peer.is_null() {
            Name::NONE
        } else {
            unix::name(peer)
        }
    };
    tell(context, socket, NameOf::Remote, Memory::Kernel, name);
}

/// The name that a failed `bind()` or `connect()` asked for: `target` is where a `sockaddr` is in
/// the process's memory, and its length. Read at the end of the call.
#[inline(always)]
pub(super) fn asked(context: &impl EbpfContext, socket: Subject, target: Option<(u64, u64)>) {
    if !has_name(socket) {
        return;
    }
    let Some((address, length)) = target else {
        return;
    };
    let mut family = 0_u16;
    // SAFETY: the helper checks the address. On a fault it writes zeroes.
    _ = unsafe { bpf_probe_read_user((&raw mut family).cast(), 2, address as *const _) };
    if family == u16::from(FAMILY_UNIX) {
        let name = Name::new(address as *const u8, length as u32);
        tell(context, socket, NameOf::Asked, Memory::Process, name);
    }
}

#[inline(always)]
fn tell(context: &impl EbpfContext, socket: Subject, of: NameOf, memory: Memory, name: Name) {
    // The same for every hook: what follows may become a function of its own.
    let context = Context(context.as_ptr());
    run(EventKind::Name, move || {
        if name.length == 0 {
            return Outcome::Filtered;
        }
        // A path of full length is stored with a NUL beyond it; a length that the kernel refused
        // may be anything.
        let length = name.length.min(NAME_BYTES as u32);
        // SAFETY: every field of the record is written, and the helpers check addresses.
        unsafe {
            emit(EventKind::Name, &context, move |record: *mut NameEvent| {
                socket.describe(&raw mut (*record).socket);
                (&raw mut (*record).of).write(of as u16);
                (&raw mut (*record).length).write(length as u16);
                let out = &raw mut (*record).name;
                out.cast::<[u32; NAME_BYTES / 4]>()
                    .write([0; NAME_BYTES / 4]);
                let at = name.at.cast();
                _ = match memory {
                    Memory::Kernel => bpf_probe_read_kernel(out.cast(), length, at),
                    Memory::Process => bpf_probe_read_user(out.cast(), length, at),
                };
            })
        }
    });
}
