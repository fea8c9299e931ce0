//! `struct sock`: who it is, where it points, how it stands.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use socktrace_common::{
    config::HAVE_COOKIE,
    event::{STATE_FIN_RECEIVED, STATE_ORPHAN},
    socket::{FAMILY_IPV4, FAMILY_IPV6, PROTO_TCP, SYNTHETIC_ID, SocketInfo},
};

use super::{Memory, Probed, Typed, present};
use crate::maps::{IDENTITIES, NEXT_IDENTITY, config, offset, take_number};

/// Bit of `SOCK_DONE` in `sk_flags` (`enum sock_flags`, include/net/sock.h): `tcp_fin()` sets it
/// when the peer's FIN arrives.
const SOCK_DONE: u64 = 1 << 1;

/// A pointer to a `struct sock`.
pub(crate) type Sock = *const u8;

/// Is it TCP? Other protocols share the state machine (SCTP) or its tracepoints (MPTCP).
#[inline(always)]
pub(crate) unsafe fn is_tcp<M: Memory>(sk: Sock) -> bool {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read::<u16>(sk, offset!(sock_protocol)) == PROTO_TCP && is_inet::<M>(sk) }
}

#[inline(always)]
unsafe fn is_inet<M: Memory>(sk: Sock) -> bool {
    // SAFETY: the caller's pointer fits `M`.
    let family = unsafe { M::read::<u16>(sk, offset!(sock_family)) };
    family == u16::from(FAMILY_IPV4) || family == u16::from(FAMILY_IPV6)
}

/// Identity of a socket whose type the verifier knows.
#[inline(always)]
pub(crate) unsafe fn identity_typed(sk: Sock) -> u64 {
    if config!(flags) & HAVE_COOKIE != 0 {
        // SAFETY: the verifier checks that `sk` is a socket. Gives it a cookie if it had none.
        unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) }
    } else {
        // SAFETY: the caller's pointer is a socket.
        unsafe { identity_probed(sk) }
    }
}

/// Identity of a socket from a program that may not make the kernel give it a cookie: the cookie
/// if there is one; else 0, or where nobody ever asks for cookies an identity of our own.
#[inline(always)]
pub(crate) unsafe fn identity_probed(sk: Sock) -> u64 {
    // SAFETY: `Probed` takes any address.
    let cookie: u64 = unsafe { Probed::read(sk, offset!(sock_cookie)) };
    if config!(flags) & HAVE_COOKIE != 0 {
        return cookie;
    }
    // First, because the socket may have got a cookie after we named it.
    // SAFETY: the value is copied at once.
    if let Some(&id) = unsafe { IDENTITIES.get(sk as u64) } {
        return id;
    }
    if cookie != 0 {
        return cookie;
    }
    let Some(next) = take_number(NEXT_IDENTITY) else {
        return 0;
    };
    // SAFETY: the helper has no conditions.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let id = SYNTHETIC_ID | cpu << 48 | next & ((1 << 48) - 1);
    if IDENTITIES.insert(sk as u64, id, 0).is_ok() {
        id
    } else {
        0
    }
}

/// The socket is gone: its address will be another's.
#[inline(always)]
pub(crate) fn forget_identity(sk: Sock) {
    if config!(flags) & HAVE_COOKIE == 0 {
        // Absent for every socket that had a cookie.
        _ = IDENTITIES.remove(sk as u64);
    }
}

/// Family and ports: what filters ask for.
pub(crate) struct Endpoint {
    pub(crate) family: u8,
    pub(crate) lport: u16,
    pub(crate) rport: u16,
}

#[inline(always)]
pub(crate) unsafe fn endpoint<M: Memory>(sk: Sock) -> Endpoint {
    // SAFETY: the caller's pointer fits `M`; `Probed` takes any address.
    unsafe {
        let family = M::read::<u16>(sk, offset!(sock_family)) as u8;
        let mapped = family == FAMILY_IPV6 && is_mapped::<M>(sk);
        let mut lport = M::read::<u16>(sk, offset!(sock_num));
        if lport == 0 {
            // A port that the kernel chose is given back before the last state change, but
            // inet_sport keeps it. It lies beyond `struct sock`, where typed loads end.
            lport = u16::from_be(Probed::read(sk, offset!(inet_sport)));
        }
        Endpoint {
            family: if mapped { FAMILY_IPV4 } else { family },
            lport,
            rport: u16::from_be(M::read(sk, offset!(sock_dport))),
        }
    }
}

/// Does an IPv6 socket talk to an IPv4-mapped address?
#[inline(always)]
unsafe fn is_mapped<M: Memory>(sk: Sock) -> bool {
    let daddr = offset!(sock_v6_daddr);
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        M::read::<u32>(sk, daddr + 8) == 0xffff_0000_u32.to_le()
            && M::read::<u32>(sk, daddr + 4) == 0
            && M::read::<u32>(sk, daddr) == 0
    }
}

/// Writes what identifies the socket and how it stands.
#[inline(always)]
pub(crate) unsafe fn describe<M: Memory>(sk: Sock, id: u64, at: &Endpoint, out: *mut SocketInfo) {
    // SAFETY: the caller's pointer fits `M`, and `out` is a record that is being filled.
    unsafe {
        let (laddr, raddr) = if at.family == FAMILY_IPV4 {
            (
                [M::read(sk, offset!(sock_rcv_saddr)), 0, 0, 0],
                [M::read(sk, offset!(sock_daddr)), 0, 0, 0],
            )
        } else {
            (
                address::<M>(sk, offset!(sock_v6_rcv_saddr)),
                address::<M>(sk, offset!(sock_v6_daddr)),
            )
        };
        (&raw mut (*out).id).write(id);
        (&raw mut (*out).laddr).cast::<[u32; 4]>().write(laddr);
        (&raw mut (*out).raddr).cast::<[u32; 4]>().write(raddr);
        (&raw mut (*out).lport).write(at.lport);
        (&raw mut (*out).rport).write(at.rport);
        (&raw mut (*out).proto).write(M::read(sk, offset!(sock_protocol)));
        (&raw mut (*out).family).write(at.family);
        (&raw mut (*out).state).write(M::read(sk, offset!(sock_state)));
        (&raw mut (*out).netns).write(netns::<M>(sk));
        (&raw mut (*out).inode).write(inode::<M>(sk));
    }
}

#[inline(always)]
unsafe fn address<M: Memory>(sk: Sock, at: u32) -> [u32; 4] {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        [
            M::read(sk, at),
            M::read(sk, at + 4),
            M::read(sk, at + 8),
            M::read(sk, at + 12),
        ]
    }
}

/// The socket's network namespace; the running task's may be another (softirq, setns).
#[inline(always)]
pub(crate) unsafe fn netns<M: Memory>(sk: Sock) -> u32 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read(M::pointer(sk, offset!(sock_net)), offset!(net_inum)) }
}

#[inline(always)]
unsafe fn inode<M: Memory>(sk: Sock) -> u32 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        if present(offset!(sock_ino)) {
            return M::read::<u64>(sk, offset!(sock_ino)) as u32;
        }
        let socket = M::pointer(sk, offset!(sock_socket));
        if socket.is_null() {
            return 0;
        }
        // Past `struct socket`, where typed loads end.
        Probed::read::<u64>(socket, offset!(socket_inode)) as u32
    }
}

/// `sk_err`: positive errno.
#[inline(always)]
pub(crate) unsafe fn error<M: Memory>(sk: Sock) -> i32 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read(sk, offset!(sock_err)) }
}

/// `SOCK_STREAM` and so on.
#[inline(always)]
pub(crate) unsafe fn socket_type<M: Memory>(sk: Sock) -> u32 {
    // SAFETY: the caller's pointer fits `M`.
    u32::from(unsafe { M::read::<u16>(sk, offset!(sock_type)) })
}

/// `STATE_*` of the socket.
#[inline(always)]
pub(crate) unsafe fn flags<M: Memory>(sk: Sock) -> u16 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        let mut flags = 0;
        if M::pointer(sk, offset!(sock_socket)).is_null() {
            flags |= STATE_ORPHAN;
        }
        if M::read::<u64>(sk, offset!(sock_flags)) & SOCK_DONE != 0 {
            flags |= STATE_FIN_RECEIVED;
        }
        flags
    }
}

/// `bytes_acked` and `bytes_received`, which lie in `struct tcp_sock`.
#[inline(always)]
pub(crate) unsafe fn bytes(sk: Sock) -> (u64, u64) {
    // SAFETY: `Probed` takes any address.
    unsafe {
        (
            Probed::read(sk, offset!(tcp_bytes_acked)),
            Probed::read(sk, offset!(tcp_bytes_received)),
        )
    }
}

/// Marks the two ways in which hooks hold a socket.
pub(crate) trait SockMemory: Memory {
    /// Identity of a socket, see [`SocketInfo::id`].
    unsafe fn identity(sk: Sock) -> u64;
}

impl SockMemory for Typed {
    #[inline(always)]
    unsafe fn identity(sk: Sock) -> u64 {
        // SAFETY: the caller's pointer is a typed socket.
        unsafe { identity_typed(sk) }
    }
}

impl SockMemory for Probed {
    #[inline(always)]
    unsafe fn identity(sk: Sock) -> u64 {
        // SAFETY: the caller's pointer is a socket.
        unsafe { identity_probed(sk) }
    }
}
