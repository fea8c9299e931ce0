//! What a tracked socket costs, as the allocator sees it.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering::Relaxed},
};

use socktrace::{source::Adopted, table::SocketTable};
use socktrace_common::socket::{FAMILY_IPV4, PROTO_TCP, SocketInfo, TcpState};
use zerocopy::FromZeros as _;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

// SAFETY: it is the system's allocator, with a sum beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The socket of a connection, held under one descriptor by one of a hundred processes.
fn adopted(number: u32) -> Adopted {
    Adopted {
        socket: SocketInfo {
            id: u64::from(number) + 1,
            lport: 80,
            rport: 40_000,
            proto: PROTO_TCP,
            family: FAMILY_IPV4,
            state: TcpState::Established as u8,
            inode: number + 1,
            ..SocketInfo::new_zeroed()
        },
        holders: [(number % 100 + 1, i32::try_from(number / 100).unwrap())]
            .into_iter()
            .collect(),
        served: true,
        born_ns: 1,
        state_since_ns: 1,
        until_ns: None,
        name: None,
    }
}

/// Just after its parts have grown a table is at its emptiest, so sizes around that are tried.
#[test]
fn a_tracked_socket_takes_at_most_256_bytes() {
    for count in [10_000, 57_400, 100_000, 115_000, 229_400, 300_000] {
        let before = ALLOCATED.load(Relaxed);
        let mut table = SocketTable::default();
        table.snapshot_begins(1);
        let mut changes = Vec::new();
        for number in 0..count {
            table.adopt(&adopted(number), &mut changes);
            changes.clear();
        }
        table.snapshot_ends(true, &mut changes);
        drop(changes);
        let each = (ALLOCATED.load(Relaxed) - before) / isize::try_from(count).unwrap();
        assert!(each <= 256, "{count} sockets: {each} bytes each");
        assert_eq!(table.len(), count as usize);
    }
}
