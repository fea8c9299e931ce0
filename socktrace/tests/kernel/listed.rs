//! What `sockets` lists of a namespace, beside `ss` and `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    ss::Line,
    support::{Netns, Row, rows, run, socktrace},
};

/// Process and descriptor of each holder.
type Held = BTreeSet<(i64, i64)>;

/// The rows of `socktrace sockets -o json` for a namespace.
pub(crate) fn sockets(netns: &Netns, arguments: &[&str]) -> Vec<Row> {
    let mut command = Command::new(socktrace());
    command.args(["sockets", "-o", "json", "--netns", netns.name()]);
    rows(&run(command.args(arguments)))
}

/// The only row with this number under a key.
#[track_caller]
pub(crate) fn find<'a>(rows: &'a [Row], key: &str, number: i64) -> &'a Row {
    let found: Vec<_> = rows
        .iter()
        .filter(|row| row.number(key) == Some(number))
        .collect();
    assert_eq!(found.len(), 1, "{key} {number} among {rows:#?}");
    found[0]
}

/// The rows of a namespace, whose TCP, UDP and Unix sockets are those of `ss`, with the holders
/// that `ss` and `/proc` show. A program at rest has a timer now and then: they have to agree once
/// within a few seconds.
#[track_caller]
pub(crate) fn agreed(netns: &Netns) -> Vec<Row> {
    let mut difference = String::new();
    for _ in 0..20 {
        let rows = sockets(netns, &[]);
        let ours = of_rows(&rows);
        let of_ss = of_ss(netns);
        let of_proc: BTreeMap<_, _> = of_proc(|inode| ours.contains_key(&inode));
        let held = ours.iter().filter(|(_, held)| !held.is_empty());
        let held: BTreeMap<_, _> = held.map(|(inode, held)| (*inode, held.clone())).collect();
        if ours == of_ss && held == of_proc {
            return rows;
        }
        difference = format!("ours {ours:?}\nss {of_ss:?}\nproc {of_proc:?}\n{rows:#?}");
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{difference}");
}

/// Inodes and holders of what `ss -tuxa` can show.
fn of_rows(rows: &[Row]) -> BTreeMap<i64, Held> {
    let hidden = [Some("idle"), Some("dead"), Some("unbound")];
    rows.iter()
        .filter(|row| matches!(row.text("proto"), Some("tcp" | "udp" | "unix")))
        .filter(|row| !hidden.contains(&row.text("class")))
        .filter(|row| row.text("state") != Some("bound_inactive"))
        .filter_map(|row| Some((row.number("inode")?, row.holders().into_iter().collect())))
        .collect()
}

fn of_ss(netns: &Netns) -> BTreeMap<i64, Held> {
    let text = netns.sh("ss -H -tuxanpe 2>/dev/null");
    let lines = text.lines().map(Line::of_ss);
    let held = |holders: &BTreeSet<(u32, u32)>| -> Held {
        let holders = holders.iter();
        holders.map(|&(pid, fd)| (pid.into(), fd.into())).collect()
    };
    lines
        .filter(|line| line.inode != 0)
        .map(|line| (line.inode.into(), held(&line.holders)))
        .collect()
}

/// Who holds these, by the links in `/proc/PID/fd`.
fn of_proc(wanted: impl Fn(i64) -> bool) -> BTreeMap<i64, Held> {
    let mut found: BTreeMap<i64, Held> = BTreeMap::new();
    let number = |name: &std::ffi::OsStr| name.to_str().and_then(|it| it.parse::<i64>().ok());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = number(&process.file_name()) else {
            continue;
        };
        // It may have ended, or hide.
        let Ok(entries) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            let inode = link.to_str().and_then(|link| {
                let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
                number.parse().ok()
            });
            let Some(inode) = inode.filter(|&inode| wanted(inode)) else {
                continue;
            };
            let fd = number(&entry.file_name()).unwrap();
            found.entry(inode).or_default().insert((pid, fd));
        }
    }
    found
}
