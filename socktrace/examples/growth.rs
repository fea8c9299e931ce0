//! What a look and a scrape cost with so many sockets, for `cargo xtask bench growth`: the CPU time of
//! this process and the memory that a socket takes in the table, as one line of JSON. Needs root for
//! real sockets.
//!
//! `growth real INODE…` looks at those network namespaces; `growth made COUNT` makes sockets up.

#![allow(clippy::print_stdout, reason = "that is its result")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use socktrace::{
    clock::monotonic_ns,
    exporter::{Exporter, Naming, Owners, Reading, Seen, Settings, Tally, openmetrics},
    inventory::{Want, each},
    probe::offsets,
    process::{Ask, Details},
    source::{
        Adopted,
        snapshot::{Holders, Namespaces},
    },
    table::SocketTable,
};
use socktrace_common::socket::{FAMILY_IPV4, PROTO_TCP, SocketInfo, TcpState};
use zerocopy::FromZeros as _;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let mut numbers = Vec::new();
    for argument in arguments {
        numbers.push(argument.parse()?);
    }
    let mut sockets: Sockets = match part.as_str() {
        "real" => real(numbers)?,
        "made" => {
            let count = numbers.first().copied().unwrap_or_default();
            Box::new(move |each| {
                (0..count).map(made).for_each(&mut *each);
                Ok(())
            })
        }
        _ => return Err("real or made".into()),
    };
    let before = ALLOCATED.load(Relaxed);
    let mut table = SocketTable::new(2_000_000);
    let began = cpu_ms();
    look(&mut table, &mut sockets)?;
    let first_ms = cpu_ms() - began;
    let bytes = ALLOCATED.load(Relaxed).saturating_sub(before);
    let began = cpu_ms();
    look(&mut table, &mut sockets)?;
    let again_ms = cpu_ms() - began;
    let scrape_ms = scrape(&table)?;
    println!(
        "{}",
        json!({
            "sockets": table.len(),
            "first_look_ms": first_ms,
            "look_ms": again_ms,
            "scrape_ms": scrape_ms,
            "bytes": bytes,
        })
    );
    Ok(())
}

/// What is open, and taken in by the table as the daemon does it.
fn look(table: &mut SocketTable, sockets: &mut Sockets) -> Result<(), Box<dyn Error>> {
    let mut changes = Vec::new();
    table.snapshot_begins(monotonic_ns());
    sockets(&mut |adopted| {
        table.adopt(&adopted, &mut changes);
        changes.clear();
    })?;
    table.snapshot_ends(true, &mut changes);
    Ok(())
}

type Sockets = Box<dyn FnMut(&mut dyn FnMut(Adopted)) -> Result<(), Box<dyn Error>>>;

fn real(netns: Vec<u32>) -> Result<Sockets, Box<dyn Error>> {
    let want = Want {
        netns,
        ..Want::default()
    };
    let mut holders = Holders::new(&offsets::read()?);
    Ok(Box::new(move |take| {
        let mut namespaces = Namespaces::new();
        each(&mut holders, &mut namespaces, &want, Ask::Nothing, |row| {
            row.adopted(monotonic_ns()).into_iter().for_each(&mut *take);
        })?;
        Ok(())
    }))
}

/// The socket of a connection, held under one descriptor by one of a hundred processes.
fn made(number: u32) -> Adopted {
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
        holders: [(
            number % 100 + 1,
            i32::try_from(number / 100).unwrap_or(i32::MAX),
        )]
        .into_iter()
        .collect(),
        served: true,
        born_ns: 1,
        state_since_ns: 1,
        until_ns: None,
        name: None,
    }
}

/// A reading and its text.
fn scrape(table: &SocketTable) -> Result<f64, Box<dyn Error>> {
    let settings = Settings::default();
    let owners = Owners::new(vec![Naming::Comm], settings.owners, |_| Details::default());
    let mut tally = Tally::new(owners);
    let exporter = Exporter::new(&settings)?;
    let seen = Arc::new(Seen::default());
    // The first asks who everybody is.
    let mut took = 0.0;
    for _ in 0..2 {
        let began = cpu_ms();
        let reading = Reading::take(monotonic_ns(), &mut tally, table, &seen);
        let text = openmetrics(&exporter.families(reading));
        took = cpu_ms() - began;
        assert!(text.ends_with("# EOF\n"));
    }
    Ok(took)
}

/// CPU time of this process, milliseconds.
#[allow(clippy::cast_precision_loss, reason = "milliseconds are shown")]
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's allocator, with a sum beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
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
