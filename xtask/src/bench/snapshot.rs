//! `cargo xtask bench snapshot`: what it costs to list what is open, beside what others take.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    load::Full,
    measure::{cpu_ms, median},
    report,
};
use crate::{
    release,
    util::{as_root, output, workspace},
};

/// Every so manieth connection has a peer that closed: one socket in `CLOSE_WAIT`.
const CLOSE_WAIT: usize = 50;

/// What `examples/snapshot.rs` says.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Part {
    rows: usize,
    cpu_ms: f64,
    bytes_at_most: f64,
}

/// Fills two namespaces with half of `sockets` each and measures `rounds` times, in turns.
pub(super) fn snapshot(sockets: usize, rounds: usize) -> Result<()> {
    release::build_these(&["--bin", "socktrace", "--example", "snapshot"])?;
    let release = workspace().join("target/release");
    let spaces = [
        Full::new("bench-a", sockets / 2, CLOSE_WAIT)?,
        Full::new("bench-b", sockets / 2, CLOSE_WAIT)?,
    ];
    let inums = [spaces[0].inum()?, spaces[1].inum()?];
    let part = |name: &str| -> Result<Part> {
        let mut command = as_root(release.join("examples/snapshot"))?;
        let text = output(command.arg(name).args(&inums))?;
        serde_json::from_str(&text).with_context(|| format!("{text} is no result"))
    };
    // Every namespace by itself, as people do it with ss.
    let each = |program: &str, arguments: &[&str]| -> Result<f64> {
        let costs = spaces
            .iter()
            .map(|space| cpu_ms(space.command(program).args(arguments)));
        costs.sum()
    };
    let (mut full, mut close_wait, mut table) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ours, mut ss, mut proc_net) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        full.push(part("full")?);
        close_wait.push(part("close_wait")?);
        table.push(part("table")?);
        let mut command = Command::new(release.join("socktrace"));
        ours.push(cpu_ms(command.args(["sockets", "-t", "-o", "json"]))?);
        ss.push(each("ss", &["-tanpe"])?);
        proc_net.push(each("cat", &["/proc/net/tcp", "/proc/net/tcp6"])?);
    }
    let result = Figures {
        listed: full.first().map_or(0, |part| part.rows),
        full: &full,
        close_wait: &close_wait,
        table: &table,
        ours: median(ours),
        ss: median(ss),
        proc_net: median(proc_net),
    };
    report::keep("snapshot", &result.rows())
}

/// A way to list them.
#[derive(Serialize)]
struct Row {
    what: &'static str,
    sockets: usize,
    /// Median.
    cpu_ms: f64,
    /// Of memory, at most; of programs that is not known.
    bytes_each: Option<f64>,
}

/// What was measured: CPU time in milliseconds.
struct Figures<'a> {
    listed: usize,
    full: &'a [Part],
    close_wait: &'a [Part],
    table: &'a [Part],
    ours: f64,
    ss: f64,
    proc_net: f64,
}

impl Figures<'_> {
    #[allow(clippy::print_stdout, reason = "that is the result")]
    fn rows(&self) -> Vec<Row> {
        println!("{} sockets, in their namespaces", self.listed);
        let part = |what, parts: &[Part]| Row {
            what,
            sockets: self.listed,
            cpu_ms: median(parts.iter().map(|part| part.cpu_ms).collect()),
            bytes_each: Some(median(parts.iter().map(Part::bytes_a_row).collect())),
        };
        let program = |what, cpu_ms| Row {
            what,
            sockets: self.listed,
            cpu_ms,
            bytes_each: None,
        };
        let rows = vec![
            part("everything, with holders", self.full),
            part("CLOSE_WAIT only", self.close_wait),
            part("taken in by the table", self.table),
            program("socktrace sockets -t -o json", self.ours),
            program("ss -tanpe", self.ss),
            program("cat /proc/net/tcp{,6}", self.proc_net),
        ];
        for row in &rows {
            let memory = row.bytes_each.map_or_else(String::new, |bytes| {
                format!(", at most {bytes:.0} bytes a row")
            });
            println!("  {:<30} {:>6.0} ms CPU{memory}", row.what, row.cpu_ms);
        }
        rows
    }
}

impl Part {
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn bytes_a_row(&self) -> f64 {
        self.bytes_at_most / self.rows.max(1) as f64
    }
}
