//! Times one part of a snapshot, for `cargo xtask bench snapshot`: the CPU time of this process
//! and the memory that it had at most, as one line of JSON. Needs root.

#![allow(clippy::print_stdout, reason = "that is its result")]

use std::{error::Error, fs};

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
    let mut holders = Holders::new(&offsets::read()?);
    let memory = resident()?;
    let began = cpu_ms();
    let rows = match part.as_str() {
        // Everything that `socktrace sockets` knows.
        "full" => {
            let mut rows = 0;
            each(&mut holders, &Want::default(), Ask::Names, |_| rows += 1)?;
            rows
        }
        // What a detector of leaks asks for every few seconds.
        "close_wait" => close_wait()?,
        // The daemon's: taken in by the table, which stays.
        "table" => table(&mut holders)?,
        _ => return Err("full, close_wait or table".into()),
    };
    println!(
        "{}",
        json!({
            "rows": rows,
            "cpu_ms": cpu_ms() - began,
            "bytes_at_most": high_water()?.saturating_sub(memory),
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

fn table(holders: &mut Holders) -> Result<usize, Box<dyn Error>> {
    let mut table = SocketTable::default();
    let mut changes = Vec::new();
    table.snapshot_begins(monotonic_ns());
    each(holders, &Want::default(), Ask::Nothing, |row| {
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

/// Memory of this process now, bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    status("VmRSS:")
}

/// And at most.
fn high_water() -> Result<u64, Box<dyn Error>> {
    status("VmHWM:")
}

fn status(key: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no such line")?.parse::<u64>()? * 1024)
}
