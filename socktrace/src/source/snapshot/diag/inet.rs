//! Rows of IPv4 and IPv6 sockets: `struct inet_diag_msg` (`include/uapi/linux/inet_diag.h`).

use netlink_packet_sock_diag::constants::{
    INET_DIAG_INFO, INET_DIAG_SHUTDOWN, INET_DIAG_SKMEMINFO, INET_DIAG_SKV6ONLY,
};
use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6, TcpState};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, native_endian, network_endian,
};

use super::{
    super::{Detail, Found, Protocol, State, Tcp, Timer, TimerKind},
    attributes::{self, MemInfo, growing, number},
};
use crate::endpoint::{Endpoint, Family};

/// `INET_DIAG_CGROUP_ID` (5.8).
const INET_DIAG_CGROUP_ID: u16 = 21;
/// `TCP_BOUND_INACTIVE`: some kernels give the pseudo-state instead of `CLOSE`.
const BOUND_INACTIVE: u8 = 13;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Row {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    lport: network_endian::U16,
    rport: network_endian::U16,
    laddr: [u8; 16],
    raddr: [u8; 16],
    interface: native_endian::U32,
    cookie: [native_endian::U32; 2],
    /// Milliseconds.
    expires: native_endian::U32,
    recv_queue: native_endian::U32,
    send_queue: native_endian::U32,
    uid: native_endian::U32,
    inode: native_endian::U32,
}

/// Reads a row.
pub(super) fn decode(bytes: &[u8], netns: u32, protocol: Protocol) -> Option<Found> {
    let (row, rest) = Row::ref_from_prefix(bytes).ok()?;
    if row.family != FAMILY_IPV4 && row.family != FAMILY_IPV6 {
        return None;
    }
    let local = Endpoint::new(row.family, row.laddr, row.lport.get());
    let remote = Endpoint::new(row.family, row.raddr, row.rport.get());
    let v4 = |it: Endpoint| it.address.is_some_and(|it| it.is_ipv4());
    let mut found = Found {
        family: Some(if row.family == FAMILY_IPV4 || v4(local) || v4(remote) {
            Family::Ipv4
        } else {
            Family::Ipv6
        }),
        local,
        remote,
        timer: timer(row),
        recv_queue: row.recv_queue.get(),
        send_queue: row.send_queue.get(),
        ..Found::new(protocol, netns, cookie(row.cookie), row.inode.get())
    };
    attributes::each(rest, |kind, value| match kind {
        INET_DIAG_SHUTDOWN => found.shutdown = value.first().copied(),
        INET_DIAG_CGROUP_ID => found.cgroup = Some(number(value)),
        INET_DIAG_SKV6ONLY => found.only_ipv6 = value.first().is_some_and(|&it| it != 0),
        INET_DIAG_SKMEMINFO => found.memory = Some(growing::<MemInfo>(value).into()),
        INET_DIAG_INFO if protocol == Protocol::Tcp => {
            found.tcp = Some(growing::<TcpInfo>(value).into());
        }
        _ => {}
    })?;
    // Only full sockets have attributes, and this one they all have.
    let full = found.shutdown.is_some();
    found.uid = full.then(|| row.uid.get());
    found.state = state(row.state, protocol, full)?;
    if protocol == Protocol::Raw {
        // The kernel has no better place for it.
        found.detail = Detail::Raw(row.lport.get());
        found.local.port = None;
    }
    Some(found)
}

/// Two words, the lower first.
pub(super) fn cookie([low, high]: [native_endian::U32; 2]) -> u64 {
    u64::from(high.get()) << 32 | u64::from(low.get())
}

fn state(number: u8, protocol: Protocol, full: bool) -> Option<State> {
    if number == BOUND_INACTIVE {
        return Some(State::BoundInactive);
    }
    Some(match TcpState::from_number(number)? {
        TcpState::SynRecv if !full => State::Request,
        // In no list of TCP sockets but the one of bound ports.
        TcpState::Close if protocol == Protocol::Tcp => State::BoundInactive,
        state => State::Tcp(state),
    })
}

fn timer(row: &Row) -> Option<Timer> {
    let kind = match row.timer {
        1 => TimerKind::Retransmit,
        2 => TimerKind::Keepalive,
        3 => TimerKind::TimeWait,
        4 => TimerKind::Probe,
        _ => return None,
    };
    Some(Timer {
        kind,
        expires_ms: row.expires.get(),
        retransmits: row.retransmits,
    })
}

/// The beginning of `struct tcp_info` (`include/uapi/linux/tcp.h`); later fields are of no use here.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct TcpInfo {
    bytes: [u8; 8],
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
}

impl From<TcpInfo> for Tcp {
    fn from(info: TcpInfo) -> Self {
        Self {
            last_data_sent_ms: info.last_data_sent,
            last_data_recv_ms: info.last_data_recv,
            last_ack_recv_ms: info.last_ack_recv,
            rtt_us: info.rtt,
            min_rtt_us: info.min_rtt,
            unacked: info.unacked,
            total_retransmits: info.total_retrans,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
        }
    }
}
