//! `ports`: which ephemeral ports are left, for how long, and who has the others.

use std::io::{self, IsTerminal as _, Write};

use super::{port_rows::PortReport, port_watch::PortWatch, reports::status, stdout, tell};
use crate::{
    cli::{Ports, PortsFormat},
    endpoint::Family,
    failure::{FAILURE, Failure},
    ports::Row,
    sink::ports::{write_blocking, write_json, write_table},
};

/// Rows of a table, unless asked for more.
const TABLE_ROWS: usize = 20;

pub(super) fn ports(args: &Ports) -> Result<u8, Failure> {
    let netns = super::selection::namespaces(&args.netns)?;
    let mut watch = PortWatch::new(netns)?;
    let lists = |error: io::Error| Failure::new(FAILURE, format!("ports cannot be seen: {error}"));
    if args.duration.is_zero() {
        tell("one look does not say how fast ports go; --duration 15s does");
    } else {
        if io::stderr().is_terminal() {
            tell(format_args!(
                "watching for {:?}, to say how fast ports go; Ctrl-C ends it",
                args.duration
            ));
        }
        watch.wait(args.duration).map_err(lists)?;
    }
    let report = watch.report().map_err(lists)?;
    report.notes.iter().for_each(tell);
    let mut out = stdout();
    let written = write(args, report, &mut out);
    let (status, notes) = match written.and_then(|said| out.flush().map(|()| said)) {
        Ok(said) => said,
        Err(error) => return super::quietly(Err(error)).map(|()| 0),
    };
    notes.iter().for_each(tell);
    Ok(status)
}

/// Writes what is wanted of a report; the status to exit with, and what to say to people.
pub(super) fn write(
    args: &Ports,
    mut report: PortReport,
    out: &mut impl Write,
) -> io::Result<(u8, Vec<String>)> {
    report.rows.retain(|row| wanted(args, row));
    sort(&mut report.rows);
    let table = args.output == PortsFormat::Table;
    let most = match args.top {
        Some(0) => usize::MAX,
        Some(top) => top,
        None if table => TABLE_ROWS,
        None => usize::MAX,
    };
    let rows = &report.rows[..report.rows.len().min(most)];
    let names = &report.names;
    match args.output {
        PortsFormat::Table => {
            write_table(out, rows, names, args.wide)?;
            write_blocking(out, &report.blocking, names)?;
        }
        PortsFormat::Json => write_json(out, rows, names, false)?,
        PortsFormat::JsonPretty => write_json(out, rows, names, true)?,
    }
    let mut notes = Vec::new();
    if report.rows.is_empty() {
        notes.push("no ephemeral port is used by what was asked for".to_owned());
    } else if table && rows.len() < report.rows.len() {
        notes.push(format!(
            "{} more rows are less bad: -n 0 shows all",
            report.rows.len() - rows.len()
        ));
    }
    let severities = report.rows.iter().filter_map(Row::severity);
    Ok((status(args.fail_on, severities.map(Into::into)), notes))
}

fn wanted(args: &Ports, row: &Row) -> bool {
    let owned = |pid: &u32| row.owners.iter().any(|owner| owner.pid == Some(*pid));
    let remote = |port: &u16| row.kind.remote().is_some_and(|(_, rport)| rport == *port);
    let of_family = |family| match row.kind.local() {
        Some(local) => local.is_ipv4() == (family == Family::Ipv4),
        None => true,
    };
    (args.pids.is_empty() || args.pids.iter().any(owned))
        && (args.remote_ports.is_empty() || args.remote_ports.iter().any(remote))
        && super::selection::family(args.ipv4, args.ipv6).is_none_or(of_family)
}

/// The worst first.
fn sort(rows: &mut [Row]) {
    let eta = |row: &Row| row.eta_seconds.unwrap_or(f64::INFINITY);
    rows.sort_by(|one, other| {
        let severity = other.severity().cmp(&one.severity());
        severity
            .then(other.ports.ratio().total_cmp(&one.ports.ratio()))
            .then(eta(one).total_cmp(&eta(other)))
            .then((one.netns, one.kind).cmp(&(other.netns, other.kind)))
    });
}
