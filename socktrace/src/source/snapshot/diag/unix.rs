//! Rows of Unix sockets: `struct unix_diag_msg` (`include/uapi/linux/unix_diag.h`).

use netlink_packet_sock_diag::constants::{
    UNIX_DIAG_ICONS, UNIX_DIAG_MEMINFO, UNIX_DIAG_NAME, UNIX_DIAG_PEER, UNIX_DIAG_RQLEN,
    UNIX_DIAG_SHUTDOWN,
};
use socktrace_common::socket::TcpState;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, native_endian};

use super::{
    super::{Detail, Found, Protocol, State, Unix, UnixName},
    attributes::{self, MemInfo, growing, number},
    inet::cookie,
};

/// `UNIX_DIAG_UID` (5.3).
const UNIX_DIAG_UID: u16 = 7;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Row {
    family: u8,
    socket_type: u8,
    state: u8,
    pad: u8,
    inode: native_endian::U32,
    cookie: [native_endian::U32; 2],
}

/// Reads a row.
pub(super) fn decode(bytes: &[u8], netns: u32) -> Option<Found> {
    let (row, rest) = Row::ref_from_prefix(bytes).ok()?;
    let mut unix = Unix::default();
    let mut found = Found {
        socket_type: Some(row.socket_type),
        state: State::Tcp(TcpState::from_number(row.state)?),
        ..Found::new(Protocol::Unix, netns, cookie(row.cookie), row.inode.get())
    };
    attributes::each(rest, |kind, value| match kind {
        UNIX_DIAG_NAME => unix.name = UnixName::new(value),
        UNIX_DIAG_PEER => unix.peer = Some(number(value)),
        UNIX_DIAG_ICONS => unix.waiting = u32::try_from(value.len() / 4).unwrap_or(u32::MAX),
        UNIX_DIAG_RQLEN => {
            [found.recv_queue, found.send_queue] = number(value);
        }
        UNIX_DIAG_MEMINFO => found.memory = Some(growing::<MemInfo>(value).into()),
        UNIX_DIAG_SHUTDOWN => found.shutdown = value.first().copied(),
        UNIX_DIAG_UID => found.uid = Some(number(value)),
        _ => {}
    })?;
    found.detail = Detail::Unix(unix);
    Some(found)
}
