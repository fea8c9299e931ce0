//! Ephemeral ports: a table for people, JSON as `docs/ports.md` describes it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
    net::IpAddr,
};

use hashbrown::HashMap;
use serde::Serialize;

use super::{json, text};
use crate::{
    endpoint::Endpoint,
    field::printable,
    ports::{Blocking, Kind, Ownership, Protocol, Row, Severity},
    process::Comm,
};

/// Names of processes.
pub type Names = HashMap<u32, Comm>;

/// How many owners a table names.
const OWNERS: usize = 3;

/// One row as JSON. The keys are part of schema 1.
#[derive(Serialize)]
struct Object<'a> {
    netns: u32,
    proto: &'static str,
    laddr: Option<IpAddr>,
    raddr: Option<IpAddr>,
    rport: Option<u16>,
    eligible: u32,
    blocked: u32,
    used: u32,
    left: u32,
    used_ratio: f64,
    eta_seconds: Option<f64>,
    owners: Vec<Owner<'a>>,
    complete: bool,
}

#[derive(Serialize)]
struct Owner<'a> {
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    count: u32,
}

impl<'a> Object<'a> {
    fn new(row: &'a Row, names: &'a Names) -> Self {
        let (raddr, rport) = row.kind.remote().unzip();
        Self {
            netns: row.netns,
            proto: proto(row.kind),
            laddr: row.kind.local(),
            raddr,
            rport,
            eligible: row.ports.eligible,
            blocked: row.ports.blocked,
            used: row.ports.used,
            left: row.ports.left,
            used_ratio: thousandths(row.ports.ratio()),
            eta_seconds: row.eta_seconds.map(thousandths),
            owners: row.owners.iter().map(|it| Owner::new(it, names)).collect(),
            complete: row.complete,
        }
    }
}

impl<'a> Owner<'a> {
    fn new(owner: &Ownership, names: &'a Names) -> Self {
        Self {
            pid: owner.pid,
            comm: owner.pid.and_then(|pid| names.get(&pid)).map(Comm::text),
            count: owner.count,
        }
    }
}

fn proto(kind: Kind) -> &'static str {
    match kind.protocol() {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Writes rows as JSON, one object a line or several lines each.
pub fn write_json(
    out: &mut impl Write,
    rows: &[Row],
    names: &Names,
    pretty: bool,
) -> io::Result<()> {
    rows.iter()
        .try_for_each(|row| json::write(out, &Object::new(row, names), pretty))
}

/// Writes rows as a table.
pub fn write_table(
    out: &mut impl Write,
    rows: &[Row],
    names: &Names,
    wide: bool,
) -> io::Result<()> {
    let width = if wide { 45 } else { 21 };
    writeln!(
        out,
        "{:<8} {:<11} {:<12} {:<width$} {:<width$} {:>14} {:>4} {:>6} {:>7} WHO HAS THEM",
        "", "NETNS", "CALL", "FROM", "TO", "USED", "", "LEFT", "LASTS",
    )?;
    for row in rows {
        let from = row.kind.local().map_or("any".into(), |it| it.to_string());
        let to = row.kind.remote().map_or("any".into(), |(address, port)| {
            text::endpoint(Endpoint {
                address: Some(address),
                port: Some(port),
            })
        });
        writeln!(
            out,
            "{:<8} {:<11} {:<12} {from:<width$} {to:<width$} {:>14} {:>4} {:>6} {:>7} {}",
            severity(row),
            row.netns,
            call(row.kind),
            format!("{} of {}", row.ports.used, row.ports.eligible),
            format!("{:.0}%", row.ports.ratio() * 100.0),
            row.ports.left,
            row.eta_seconds.map_or("-".into(), lasts),
            owners(&row.owners, row.kept, names),
        )?;
    }
    Ok(())
}

/// Writes who blocks ports, for tables.
pub fn write_blocking(
    out: &mut impl Write,
    blocking: &[Blocking],
    names: &Names,
) -> io::Result<()> {
    for group in blocking {
        let ports = match group.ports.len() {
            1 => "1 port".to_owned(),
            many => format!("{many} ports"),
        };
        let at = group
            .local
            .map_or(String::new(), |local| format!(" at {}", local.address));
        writeln!(
            out,
            "blocked in {} for every connect(): {ports} ({}){at}: {}, {}",
            group.netns,
            spans(&group.ports),
            group.why.words(),
            who(group.pid, names),
        )?;
    }
    Ok(())
}

fn severity(row: &Row) -> &'static str {
    match row.severity() {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Critical) => "critical",
    }
}

fn call(kind: Kind) -> &'static str {
    match kind {
        Kind::Connect { .. } => "connect",
        Kind::ConnectAnew => "connect new",
        Kind::Bind(_) => "bind port 0",
        Kind::Udp(local) if local.address.is_unspecified() => "udp",
        Kind::Udp(_) => "udp bind",
    }
}

/// Two numbers at most: who reads it wants to know whether there is time to act.
fn lasts(seconds: f64) -> String {
    let minutes = seconds / 60.0;
    match seconds {
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{minutes:.0} min"),
        ..172_800.0 => format!("{:.0} h", minutes / 60.0),
        _ => "days".to_owned(),
    }
}

/// `nginx pid 7: 12, curl pid 9: 3, 4 others: 20, TIME_WAIT: 30, no process: 10`. `kept`: so many are in
/// `TIME_WAIT`.
fn owners(owners: &[Ownership], kept: u32, names: &Names) -> String {
    let mut told = String::new();
    let (somebody, nobody): (Vec<&Ownership>, Vec<_>) =
        owners.iter().partition(|it| it.pid.is_some());
    let mut tell = |who: &str, count: u32| {
        let before = if told.is_empty() { "" } else { ", " };
        _ = write!(told, "{before}{who}: {count}");
    };
    for owner in somebody.iter().take(OWNERS) {
        tell(&who(owner.pid, names), owner.count);
    }
    let others = somebody.iter().skip(OWNERS);
    let rest: u32 = others.clone().map(|it| it.count).sum();
    if rest > 0 {
        tell(&format!("{} others", others.count()), rest);
    }
    for owner in nobody {
        let kept = kept.min(owner.count);
        for (who, count) in [("TIME_WAIT", kept), (&who(None, names), owner.count - kept)] {
            if count > 0 {
                tell(who, count);
            }
        }
    }
    told
}

fn who(pid: Option<u32>, names: &Names) -> String {
    let Some(pid) = pid else {
        return "no process".to_owned();
    };
    match names.get(&pid) {
        Some(comm) => format!("{} pid {pid}", printable(&comm.text())),
        None => format!("pid {pid}"),
    }
}

/// `40000-40009, 40011` of sorted ports, and how many more there are.
fn spans(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|one, other| other.wrapping_sub(*one) == 1);
    let mut told: Vec<_> = runs
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    if told.len() > 4 {
        told.truncate(4);
        told.push("…".to_owned());
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_as_spans() {
        assert_eq!(spans(&[40_000]), "40000");
        assert_eq!(spans(&[1, 2, 3, 5, 7, 8]), "1-3, 5, 7-8");
        assert_eq!(spans(&[1, 3, 5, 7, 9, 11]), "1, 3, 5, 7, …");
    }

    #[test]
    fn times_are_short() {
        for (seconds, told) in [
            (0.0, "0 s"),
            (99.4, "99 s"),
            (600.0, "10 min"),
            (7_300.0, "2 h"),
            (1e7, "days"),
        ] {
            assert_eq!(lasts(seconds), told);
        }
    }

    #[test]
    fn the_few_who_have_most_are_named() {
        let names = Names::from_iter([(7, Comm::from(&b"ng\x1b[2Jinx"[..]))]);
        let ownership = |pid, count| Ownership { pid, count };
        let all = [
            ownership(Some(7), 12),
            ownership(Some(8), 9),
            ownership(Some(9), 5),
            ownership(Some(10), 3),
            ownership(Some(11), 2),
            ownership(None, 40),
        ];
        assert_eq!(
            owners(&all, 30, &names),
            "ng\\u{1b}[2Jinx pid 7: 12, pid 8: 9, pid 9: 5, 2 others: 5, TIME_WAIT: 30, no process: 10"
        );
    }
}
