//! Times one part of a snapshot, for `cargo xtask bench snapshot`: the CPU time of this process
//! and the memory that it asked for at most, as one line of JSON. After the part come the network
//! namespaces (inode numbers) to look at, else all. Needs root.

#![allow(clippy::print_stdout, reason = "that is its result")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    error::Error,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use socktrace::{
    clock::monotonic_ns,
    inventory::{Want, each},
    probe::offsets,
    process::Ask,
    source::snapshot::{Buffer, Holders, Namespaces, Query, States},
    table::SocketTable,
};
use socktrace_common::socket::TcpState;

fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let netns = std::env::args().skip(2).map(|inum| inum.parse());
    let want = Want {
        netns: netns.collect::<Result<_, _>>()?,
        ..Want::default()
    };
    let mut holders = Holders::new(&offsets::read()?);
    let memory = ALLOCATED.load(Relaxed);
    MOST.store(memory, Relaxed);
    let began = cpu_ms();
    let rows = match part.as_str() {
        // Everything that `socktrace sockets` knows.
        "full" => {
            let mut rows = 0;
            let mut namespaces = Namespaces::new();
            each(&mut holders, &mut namespaces, &want, Ask::Names, |_| {
                rows += 1;
            })?;
            rows
        }
        // What a detector of leaks asks for every few seconds.
        "close_wait" => close_wait()?,
        // The daemon's: taken in by the table, which stays.
        "table" => table(&mut holders, &want)?,
        _ => return Err("full, close_wait or table".into()),
    };
    println!(
        "{}",
        json!({
            "rows": rows,
            "cpu_ms": cpu_ms() - began,
            "bytes_at_most": MOST.load(Relaxed) - memory,
        })
    );
    Ok(())
}

fn close_wait() -> Result<usize, Box<dyn Error>> {
    let mut namespaces = Namespaces::new();
    namespaces.refresh([])?;
    let (mut buffer, mut rows) = (Buffer::default(), 0);
    for namespace in namespaces.iter_mut() {
        let query = Query::tcp(States::none().with(TcpState::CloseWait));
        namespace.dump(query, &mut buffer, |_| rows += 1)?;
    }
    Ok(rows)
}

fn table(holders: &mut Holders, want: &Want) -> Result<usize, Box<dyn Error>> {
    let mut table = SocketTable::default();
    let mut changes = Vec::new();
    table.snapshot_begins(monotonic_ns());
    each(holders, &mut Namespaces::new(), want, Ask::Nothing, |row| {
        if let Some(adopted) = row.adopted(monotonic_ns()) {
            table.adopt(&adopted, &mut changes);
            changes.clear();
        }
    })?;
    table.snapshot_ends(true, &mut changes);
    Ok(table.len())
}

/// CPU time of this process, milliseconds.
#[allow(clippy::cast_precision_loss, reason = "milliseconds are shown")]
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Counts what is allocated, now and at most.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's allocator, with two sums beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
