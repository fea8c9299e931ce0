//! `cargo xtask bench snapshot`: what it costs to list what is open, beside what others take.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    load::Full,
    measure::{cpu_ms, median},
};
use crate::util::{as_root, cargo, output, run, workspace};

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
    let mut build = cargo("build");
    build.args(["--release", "--locked", "--package", "socktrace"]);
    run(build.args(["--bin", "socktrace", "--example", "snapshot"]))?;
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
    result.print(rounds);
    Ok(())
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
    fn print(&self, rounds: usize) {
        println!(
            "{} sockets, in their namespaces, median of {rounds} rounds",
            self.listed
        );
        for (what, parts) in [
            ("everything, with holders", self.full),
            ("CLOSE_WAIT only", self.close_wait),
            ("taken in by the table", self.table),
        ] {
            let cpu = median(parts.iter().map(|part| part.cpu_ms).collect());
            let memory = median(parts.iter().map(Part::bytes_a_row).collect());
            println!("  {what:<30} {cpu:>6.0} ms CPU, at most {memory:>4.0} bytes a row");
        }
        let ours = self.ours;
        for (what, cpu) in [
            ("socktrace sockets -t -o json", ours),
            ("ss -tanpe", self.ss),
            ("cat /proc/net/tcp{,6}", self.proc_net),
        ] {
            println!(
                "  {what:<30} {cpu:>6.0} ms CPU, {:.1} times ours",
                cpu / ours
            );
        }
    }
}

impl Part {
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn bytes_a_row(&self) -> f64 {
        self.bytes_at_most / self.rows.max(1) as f64
    }
}
