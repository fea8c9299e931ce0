//! `struct sock`: who it is, where it points, how it stands.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use socktrace_common::{
    config::HAVE_COOKIE,
    event::STATE_FIN_RECEIVED,
    socket::{
        FAMILY_IPV4, FAMILY_IPV6, INODE_ID, PROTO_RAW, PROTO_TCP, Protocol, SYNTHETIC_ID,
        SocketInfo, TcpState,
    },
};

use super::{Cast, Memory, Probed, Typed, cast::cast, present};
use crate::{
    constant::{At, config, offset},
    maps::{IDENTITIES, NEXT_IDENTITY, take_number},
};

/// Bit of `SOCK_DONE` in `sk_flags` (`enum sock_flags`, include/net/sock.h): `tcp_fin()` sets it
/// when the peer's FIN arrives.
const SOCK_DONE: u64 = 1 << 1;

/// The type of every TCP socket (include/linux/net.h).
pub(crate) const SOCK_STREAM: u8 = 1;

/// `SOCK_RAW`, likewise.
const SOCK_RAW: u16 = 3;

/// A pointer to a `struct sock`.
pub(crate) type Sock = *const u8;

/// Is it TCP, of those sockets that have a state machine? Other protocols share it (SCTP) or its
/// tracepoints (MPTCP).
#[inline(always)]
pub(crate) unsafe fn is_tcp<M: Memory>(sk: Sock) -> bool {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read::<u16>(sk, offset!(sock_protocol)) == PROTO_TCP && is_inet(family::<M>(sk)) }
}

/// `AF_*`: there are fewer than 256.
#[inline(always)]
unsafe fn family<M: Memory>(sk: Sock) -> u8 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read::<u16>(sk, offset!(sock_family)) as u8 }
}

#[inline(always)]
pub(crate) fn is_inet(family: u8) -> bool {
    family == FAMILY_IPV4 || family == FAMILY_IPV6
}

/// What is decided first: family and protocol of any socket.
#[inline(always)]
pub(crate) unsafe fn kind<M: Memory>(sk: Sock) -> Kind {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        let family = family::<M>(sk);
        let mut proto = M::read::<u16>(sk, offset!(sock_protocol));
        // A raw socket's number is what it takes: 6 does not make it TCP.
        if is_inet(family) && M::read::<u16>(sk, offset!(sock_type)) == SOCK_RAW {
            proto = PROTO_RAW;
        }
        Kind {
            family,
            proto,
            protocol: Protocol::of(family, proto),
        }
    }
}

/// Family and protocol.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    family: u8,
    /// As in [`SocketInfo::proto`].
    proto: u16,
    pub(crate) protocol: Protocol,
}

impl Kind {
    /// Of a socket that [`is_tcp`].
    #[inline(always)]
    pub(crate) unsafe fn tcp<M: Memory>(sk: Sock) -> Self {
        Self {
            // SAFETY: the caller's pointer fits `M`.
            family: unsafe { family::<M>(sk) },
            proto: PROTO_TCP,
            protocol: Protocol::Tcp,
        }
    }

    /// Does `cgroup/sock_release` tell of its end, where it is attached?
    #[inline(always)]
    pub(crate) fn is_released(self) -> bool {
        is_inet(self.family) && self.protocol != Protocol::Tcp
    }
}

/// Identity of a socket whose type the verifier knows.
#[inline(always)]
pub(crate) unsafe fn identity_typed(sk: Sock) -> u64 {
    if config!(flags) & HAVE_COOKIE != 0 {
        // SAFETY: the verifier checks that `sk` is a socket. Gives it a cookie if it had none.
        unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) }
    } else {
        // SAFETY: the caller's pointer is a socket.
        unsafe { identity_kept::<Typed>(sk) }
    }
}

/// Identity of a socket from a program that may not make the kernel give it a cookie: the cookie
/// if there is one; else 0, or where nobody ever asks for cookies an identity of our own.
#[inline(always)]
pub(crate) unsafe fn identity_kept<M: Memory>(sk: Sock) -> u64 {
    // SAFETY: the caller's pointer fits `M`.
    let cookie = unsafe { cookie::<M>(sk) };
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

/// The cookie that the socket has, 0 if it has none.
#[inline(always)]
pub(crate) unsafe fn cookie<M: Memory>(sk: Sock) -> u64 {
    // SAFETY: the caller's pointer fits `M`.
    unsafe { M::read(sk, offset!(sock_cookie)) }
}

/// Writes what is known of a socket at its birth, before it has addresses.
#[inline(always)]
pub(crate) unsafe fn newborn(sk: Sock, id: u64, kind: Kind, out: *mut SocketInfo) {
    // SAFETY: the caller's pointer was cast, and `out` is a record that is being filled.
    unsafe {
        (&raw mut (*out).id).write(id);
        for address in [&raw mut (*out).laddr, &raw mut (*out).raddr] {
            // Zeroes in a row become a call that writes them byte by byte.
            let words = address.cast::<u64>();
            words.write_volatile(0);
            words.add(1).write_volatile(0);
        }
        (&raw mut (*out).lport).write(0);
        (&raw mut (*out).rport).write(0);
        (&raw mut (*out).proto).write(kind.proto);
        (&raw mut (*out).family).write(kind.family);
        (&raw mut (*out).state).write(TcpState::Close as u8);
        (&raw mut (*out).netns).write(netns::<Cast>(sk));
        (&raw mut (*out).inode).write(inode::<Cast>(sk));
    }
}

/// Identity of a socket of any kind, from a program that may not make the kernel give it a cookie.
///
/// Only TCP sockets get a cookie on their way. Others have one where `cgroup/sock_create` gave it
/// or somebody asked; before that they are known by their inode number, which outlives no socket
/// here: what is told of them has a file. MPTCP sockets always are: one that comes out of a
/// listener has the listener's cookie if that had one, as `mptcp_sk_clone_init()`
/// (net/mptcp/protocol.c) copies it.
#[inline(always)]
pub(crate) unsafe fn identity_any(sk: Sock, protocol: Protocol) -> u64 {
    // SAFETY: the caller's pointer was cast.
    unsafe {
        if protocol == Protocol::Tcp {
            return identity_kept::<Cast>(sk);
        }
        let cookie = cookie::<Cast>(sk);
        if cookie != 0 && protocol != Protocol::Mptcp {
            return cookie;
        }
        inode_identity::<Cast>(sk)
    }
}

/// Identity of a socket without a cookie: its inode number, 0 where it has none.
#[inline(always)]
pub(crate) unsafe fn inode_identity<M: Memory>(sk: Sock) -> u64 {
    // SAFETY: the caller's pointer fits `M`.
    let inode = unsafe { inode::<M>(sk) };
    if inode == 0 {
        0
    } else {
        INODE_ID | u64::from(inode)
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

/// Kind, family and ports: what filters ask for.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) kind: Kind,
    /// IPv4 for an IPv6 socket that talks to an IPv4-mapped address.
    pub(crate) family: u8,
    pub(crate) lport: u16,
    pub(crate) rport: u16,
}

#[inline(always)]
pub(crate) unsafe fn endpoint<M: Memory>(sk: Sock, kind: Kind) -> Endpoint {
    // SAFETY: the caller's pointer fits `M`; `Probed` takes any address.
    unsafe {
        // A connection has two mapped addresses or none; others may have a local one alone.
        let mapped = kind.family == FAMILY_IPV6
            && (is_mapped::<M, _>(sk, offset!(sock_v6_daddr))
                || kind.protocol != Protocol::Tcp
                    && is_mapped::<M, _>(sk, offset!(sock_v6_rcv_saddr)));
        let family = if mapped { FAMILY_IPV4 } else { kind.family };
        if !kind.protocol.has_ports() {
            // A raw socket keeps its protocol there, others something else.
            return Endpoint {
                kind,
                family,
                lport: 0,
                rport: 0,
            };
        }
        let mut lport = M::read::<u16>(sk, offset!(sock_num));
        if lport == 0 {
            // A port that the kernel chose is given back before the last state change, but
            // inet_sport keeps it. It lies beyond `struct sock`, where typed loads end.
            lport = u16::from_be(Cast::read(whole(sk), offset!(inet_sport)));
        }
        Endpoint {
            kind,
            family,
            lport,
            rport: remote_port::<M>(sk),
        }
    }
}

/// Its remote port, 0 while it has none.
#[inline(always)]
pub(crate) unsafe fn remote_port<M: Memory>(sk: Sock) -> u16 {
    // SAFETY: the caller's pointer fits `M`.
    u16::from_be(unsafe { M::read(sk, offset!(sock_dport)) })
}

/// Is the address at this offset of an IPv6 socket an IPv4-mapped one?
#[inline(always)]
unsafe fn is_mapped<M: Memory, const FIELD: u32>(sk: Sock, at: At<FIELD>) -> bool {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        M::read::<u32>(sk, At::<FIELD, 8>) == 0xffff_0000_u32.to_le()
            && M::read::<u32>(sk, At::<FIELD, 4>) == 0
            && M::read::<u32>(sk, at) == 0
    }
}

/// Writes what identifies the socket and how it stands.
#[inline(always)]
pub(crate) unsafe fn describe<M: Memory>(sk: Sock, id: u64, at: &Endpoint, out: *mut SocketInfo) {
    // SAFETY: the caller's pointer fits `M`, and `out` is a record that is being filled.
    unsafe {
        (&raw mut (*out).id).write(id);
        place::<M>(sk, at, out);
        (&raw mut (*out).proto).write(at.kind.proto);
        (&raw mut (*out).state).write(M::read(sk, offset!(sock_state)));
        (&raw mut (*out).netns).write(netns::<M>(sk));
        (&raw mut (*out).inode).write(inode::<M>(sk));
    }
}

/// Writes where the socket is and where its peer is: what a client has no earlier than with `SYN_SENT`.
#[inline(always)]
pub(crate) unsafe fn place<M: Memory>(sk: Sock, at: &Endpoint, out: *mut SocketInfo) {
    // SAFETY: the caller's pointer fits `M`, and `out` is a record or a life.
    unsafe {
        let (laddr, raddr) = if at.family == FAMILY_IPV4 {
            (
                [M::read(sk, offset!(sock_rcv_saddr)), 0, 0, 0],
                [M::read(sk, offset!(sock_daddr)), 0, 0, 0],
            )
        } else if at.family == FAMILY_IPV6 {
            (
                address::<M, _>(sk, offset!(sock_v6_rcv_saddr)),
                address::<M, _>(sk, offset!(sock_v6_daddr)),
            )
        } else {
            ([0; 4], [0; 4])
        };
        (&raw mut (*out).laddr).cast::<[u32; 4]>().write(laddr);
        (&raw mut (*out).raddr).cast::<[u32; 4]>().write(raddr);
        (&raw mut (*out).lport).write(at.lport);
        (&raw mut (*out).rport).write(at.rport);
        (&raw mut (*out).family).write(at.family);
    }
}

#[inline(always)]
unsafe fn address<M: Memory, const FIELD: u32>(sk: Sock, at: At<FIELD>) -> [u32; 4] {
    // SAFETY: the caller's pointer fits `M`.
    unsafe {
        [
            M::read(sk, at),
            M::read(sk, At::<FIELD, 4>),
            M::read(sk, At::<FIELD, 8>),
            M::read(sk, At::<FIELD, 12>),
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
    let flags = unsafe { M::read::<u64>(sk, offset!(sock_flags)) };
    if flags & SOCK_DONE == 0 {
        0
    } else {
        STATE_FIN_RECEIVED
    }
}

/// `bytes_acked` and `bytes_received`, which lie in `struct tcp_sock`.
#[inline(always)]
pub(crate) unsafe fn bytes(sk: Sock) -> (u64, u64) {
    let tcp = whole(sk);
    // SAFETY: it was cast.
    unsafe {
        (
            Cast::read(tcp, offset!(tcp_bytes_acked)),
            Cast::read(tcp, offset!(tcp_bytes_received)),
        )
    }
}

/// When TCP began to look at the last packet, or at the timer that ran last: `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
pub(crate) unsafe fn packet_ns(sk: Sock) -> u64 {
    // SAFETY: it was cast.
    unsafe { Cast::read(whole(sk), offset!(tcp_clock_cache)) }
}

/// The socket with all that lies beyond `struct sock`, where typed loads end. What it is cast to begins as
/// every socket over IP does (`struct inet_sock`); of what is no TCP socket no more is asked for.
#[inline(always)]
pub(crate) fn whole(sk: Sock) -> Sock {
    cast(sk, offset!(type_tcp_sock))
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
        unsafe { identity_kept::<Self>(sk) }
    }
}
