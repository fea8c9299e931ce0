//! Rows of packet and netlink sockets, which are counted by owner and little else.

use socktrace_common::socket::TcpState;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, native_endian};

use super::{
    super::{Detail, Found, Protocol, State},
    attributes::{self, MemInfo, growing, number},
    inet::cookie,
};

/// `PACKET_DIAG_*` and `NETLINK_DIAG_*` of `include/uapi/linux`.
const PACKET_DIAG_INFO: u16 = 0;
const PACKET_DIAG_UID: u16 = 5;
const PACKET_DIAG_MEMINFO: u16 = 6;
const NETLINK_DIAG_MEMINFO: u16 = 0;
/// `NETLINK_CONNECTED` (`net/netlink/af_netlink.h`): it has a peer.
const NETLINK_CONNECTED: u8 = 1;

/// `struct packet_diag_msg` (`include/uapi/linux/packet_diag.h`).
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PacketRow {
    family: u8,
    socket_type: u8,
    /// `ETH_P_*`, host byte order.
    protocol: native_endian::U16,
    inode: native_endian::U32,
    cookie: [native_endian::U32; 2],
}

/// `struct netlink_diag_msg` (`include/uapi/linux/netlink_diag.h`).
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NetlinkRow {
    family: u8,
    socket_type: u8,
    protocol: u8,
    state: u8,
    port: native_endian::U32,
    peer: native_endian::U32,
    peer_group: native_endian::U32,
    inode: native_endian::U32,
    cookie: [native_endian::U32; 2],
}

/// Reads the row of a packet socket.
pub(super) fn packet(bytes: &[u8], netns: u32) -> Option<Found> {
    let (row, rest) = PacketRow::ref_from_prefix(bytes).ok()?;
    let mut found = Found {
        socket_type: Some(row.socket_type),
        ..Found::new(Protocol::Packet, netns, cookie(row.cookie), row.inode.get())
    };
    let mut interface = 0;
    attributes::each(rest, |kind, value| match kind {
        // `struct packet_diag_info` begins with the interface.
        PACKET_DIAG_INFO => interface = number(value),
        PACKET_DIAG_UID => found.uid = Some(number(value)),
        PACKET_DIAG_MEMINFO => found.memory = Some(growing::<MemInfo>(value).into()),
        _ => {}
    })?;
    found.detail = Detail::Packet {
        protocol: row.protocol.get(),
        interface,
    };
    found.recv_queue = found.memory.map_or(0, |memory| memory.rmem);
    Some(found)
}

/// Reads the row of a netlink socket.
pub(super) fn netlink(bytes: &[u8], netns: u32) -> Option<Found> {
    let (row, rest) = NetlinkRow::ref_from_prefix(bytes).ok()?;
    let mut found = Found {
        socket_type: Some(row.socket_type),
        detail: Detail::Netlink {
            protocol: row.protocol,
            port: row.port.get(),
            peer: row.peer.get(),
        },
        ..Found::new(
            Protocol::Netlink,
            netns,
            cookie(row.cookie),
            row.inode.get(),
        )
    };
    if row.state == NETLINK_CONNECTED {
        found.state = State::Tcp(TcpState::Established);
    }
    attributes::each(rest, |kind, value| {
        if kind == NETLINK_DIAG_MEMINFO {
            found.memory = Some(growing::<MemInfo>(value).into());
        }
    })?;
    found.recv_queue = found.memory.map_or(0, |memory| memory.rmem);
    Some(found)
}
