//! Every TCP socket of a namespace: which ports are kept from `connect()`, and which connections
//! in `TIME_WAIT` cannot be taken over.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_seq_write, bpf_skc_to_tcp_sock, bpf_skc_to_tcp_timewait_sock,
};

use super::context_pointer;
use crate::{
    constant::{Fixed, offset},
    kernel::{Memory as _, Typed},
    maps::BLOCKED,
};

/// `struct bpf_iter__tcp`: the fields after each other, eight bytes each.
const META: usize = 0;
const SOCKET: usize = 1;

/// Called for each TCP socket of the namespace of the task that made the iterator (5.9), listeners,
/// requests and minisocks included, and once more at the end without one. Not for sockets that are
/// bound and neither listen nor are connected.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn tcp_buckets(context: *mut c_void) -> i32 {
    // SAFETY: these are the fields of this iterator's context, and the verifier knows their types;
    // the helpers answer null for a socket of another kind.
    unsafe {
        let socket = context_pointer(context, SOCKET);
        if socket.is_null() {
            return 0;
        }
        let full = bpf_skc_to_tcp_sock(socket.cast_mut().cast()).cast_const();
        if !full.is_null() {
            note(Typed::pointer(full.cast(), offset!(tcp_bind_bucket)));
            return 0;
        }
        let minisock = bpf_skc_to_tcp_timewait_sock(socket.cast_mut().cast()).cast_const();
        if minisock.is_null() {
            // A connection request: its listener has the port.
            return 0;
        }
        let minisock = minisock.cast::<u8>();
        note(Typed::pointer(minisock, offset!(tw_bind_bucket)));
        if Typed::read::<u32>(minisock, offset!(tw_timestamp)) == 0 {
            let cookie: u64 = Typed::read(minisock, offset!(tw_cookie));
            let seq = Typed::pointer(context_pointer(context, META), Fixed::<0>);
            // What does not fit makes the kernel call again for the same socket.
            bpf_seq_write(
                seq.cast_mut().cast(),
                (&raw const cookie).cast(),
                size_of::<u64>() as u32,
            );
        }
    }
    0
}

/// Notes the port of a `struct inet_bind_bucket` that `connect()` does not share
/// (`__inet_hash_connect()`, `net/ipv4/inet_hashtables.c`).
#[inline(always)]
unsafe fn note(bucket: *const u8) {
    // Taken away by whoever closes the socket just now.
    if bucket.is_null() {
        return;
    }
    // SAFETY: the caller's pointer is a typed bucket, and the map's value has a bit for each port.
    unsafe {
        let explicit = Typed::read::<i8>(bucket, offset!(bucket_reuse)) >= 0
            || Typed::read::<i8>(bucket, offset!(bucket_reuse_port)) >= 0;
        if explicit && let Some(ports) = BLOCKED.get_ptr_mut(0) {
            let port: u16 = Typed::read(bucket, offset!(bucket_port));
            let word = ports.cast::<u64>().add(usize::from(port >> 6));
            *word |= 1 << (port & 63);
        }
    }
}
