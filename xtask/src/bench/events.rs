//! `cargo xtask bench events`: the user side by itself, in one thread.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::measure::Spread;
use crate::{
    release,
    util::{output, target_dir},
};

const ROUNDS: usize = 5;

/// What `examples/events.rs` says.
#[derive(Deserialize)]
struct Timed {
    events: u64,
    ns_each: f64,
    allocations: u64,
}

#[derive(Serialize)]
pub(super) struct Row {
    records: &'static str,
    open_at_a_time: usize,
    events: u64,
    ns_an_event: Spread,
    million_events_a_second: f64,
    allocations: u64,
}

pub(super) fn events(connections: usize) -> Result<Vec<Row>> {
    release::build_these(&["--example", "events"])?;
    let program = target_dir().join("release/examples/events");
    let mut rows = Vec::new();
    for (mode, records) in [("steps", "one a step"), ("lives", "one a socket")] {
        for open in [1_000, 50_000] {
            let timed = (0..ROUNDS).map(|_| {
                let arguments = [mode.to_owned(), connections.to_string(), open.to_string()];
                let text = output(Command::new(&program).args(arguments))?;
                serde_json::from_str(&text).with_context(|| format!("{text} is no result"))
            });
            let timed: Vec<Timed> = timed.collect::<Result<_>>()?;
            let each = Spread::of(timed.iter().map(|timed| timed.ns_each).collect());
            let row = Row {
                records,
                open_at_a_time: 2 * open,
                events: timed.first().map_or(0, |timed| timed.events),
                million_events_a_second: 1e3 / each.median,
                ns_an_event: each,
                allocations: timed
                    .iter()
                    .map(|timed| timed.allocations)
                    .max()
                    .unwrap_or(0),
            };
            print(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

#[allow(clippy::print_stdout, reason = "that is the result")]
fn print(row: &Row) {
    println!(
        "records {:<12} {:>6} sockets open: {:.0} ns an event, {:.1} million a second, {} allocations in {} events",
        row.records,
        row.open_at_a_time,
        row.ns_an_event.median,
        row.million_events_a_second,
        row.allocations,
        row.events,
    );
}
