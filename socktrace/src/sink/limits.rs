//! Limits: a table for people, JSON as `docs/findings.md` describes it.

use std::io::{self, Write};

use serde::Serialize;

use super::{findings::from_seconds, json, text};
use crate::{detect::Limit, field::printable};

/// One limit as JSON. The keys are part of schema 1.
#[derive(Serialize)]
struct Object {
    kind: &'static str,
    netns: Option<u32>,
    pid: Option<u32>,
    comm: Option<String>,
    used: u64,
    limit: Option<u64>,
    used_ratio: Option<f64>,
    eta_seconds: Option<u64>,
}

impl Object {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds to come, rounded down"
    )]
    fn new(row: &Limit) -> Self {
        let process = row.process.as_deref();
        Self {
            kind: row.kind,
            netns: row.netns,
            pid: process.map(|process| process.pid),
            comm: process
                .and_then(|process| process.comm.as_ref())
                .map(|comm| comm.text().into_owned()),
            used: row.used,
            limit: row.limit,
            used_ratio: row.ratio(),
            eta_seconds: row.eta_seconds.map(|seconds| seconds as u64),
        }
    }
}

/// Writes limits as JSON, one object a line or several lines each.
pub fn write_json(out: &mut impl Write, rows: &[Limit], pretty: bool) -> io::Result<()> {
    rows.iter()
        .try_for_each(|row| json::write(out, &Object::new(row), pretty))
}

/// Writes limits as a table.
pub fn write_table(out: &mut impl Write, rows: &[Limit]) -> io::Result<()> {
    writeln!(
        out,
        "{:>6} {:>12} {:>12} {:>9} {:<16} WHOSE",
        "FULL", "USED", "LIMIT", "NONE LEFT", "WHAT"
    )?;
    for row in rows {
        let used = row
            .ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}%", ratio * 100.0));
        let eta = row
            .eta_seconds
            .map_or_else(|| "-".to_owned(), |eta| text::duration(from_seconds(eta)));
        writeln!(
            out,
            "{used:>6} {:>12} {:>12} {eta:>9} {:<16} {}",
            row.used,
            text::or_dash(row.limit),
            row.kind,
            whose(row),
        )?;
    }
    Ok(())
}

fn whose(row: &Limit) -> String {
    let mut words = Vec::new();
    if let Some(process) = &row.process {
        let comm = process.comm.map(|comm| printable(&comm.text()));
        let comm = comm.unwrap_or_else(|| "?".to_owned());
        words.push(format!("{comm} pid {}", process.pid));
    }
    words.extend(row.place.clone());
    words.extend(row.netns.map(|netns| format!("namespace {netns}")));
    if words.is_empty() {
        words.push("the machine".to_owned());
    }
    words.join(", ")
}
