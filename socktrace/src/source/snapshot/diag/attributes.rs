//! The attributes behind a row's struct.

use netlink_packet_core::{NlaBuffer, NlasIterator};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Calls `take` with each attribute's number and value; `None` if one reaches beyond the row.
pub(super) fn each<'a>(bytes: &'a [u8], mut take: impl FnMut(u16, &'a [u8])) -> Option<()> {
    for attribute in NlasIterator::new(bytes) {
        let attribute: NlaBuffer<&'a [u8]> = attribute.ok()?;
        let length = usize::from(attribute.length());
        let kind = attribute.kind();
        take(kind, attribute.into_inner().get(4..length)?);
    }
    Some(())
}

/// A number; 0 for fewer bytes than it has.
pub(super) fn number<T: FromBytes + FromZeros>(value: &[u8]) -> T {
    T::read_from_prefix(value).map_or_else(|_| T::new_zeroed(), |(number, _)| number)
}

/// A struct that grew over the years: what an older kernel did not send is zero.
pub(super) fn growing<T: FromBytes + IntoBytes>(value: &[u8]) -> T {
    let mut whole = T::new_zeroed();
    for (to, from) in whole.as_mut_bytes().iter_mut().zip(value) {
        *to = *from;
    }
    whole
}

/// `SK_MEMINFO_*` (`include/uapi/linux/sock_diag.h`): bytes, except for the last.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct MemInfo {
    rmem_alloc: u32,
    rcvbuf: u32,
    wmem_alloc: u32,
    sndbuf: u32,
    fwd_alloc: u32,
    wmem_queued: u32,
    optmem: u32,
    backlog: u32,
    drops: u32,
}

impl From<MemInfo> for super::super::Memory {
    fn from(info: MemInfo) -> Self {
        Self {
            rmem: info.rmem_alloc,
            rcvbuf: info.rcvbuf,
            // TCP counts what it queued, the others what they handed down.
            wmem: info.wmem_queued.max(info.wmem_alloc),
            sndbuf: info.sndbuf,
            drops: info.drops,
        }
    }
}
