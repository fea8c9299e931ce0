//! What is open now: a table for people, JSON as `docs/sockets.md` describes it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
    str::FromStr,
};

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::Value;

use super::{json, text};
use crate::{
    change::Role,
    endpoint::{Family, protocol_word},
    field::printable,
    inventory::{Age, Holding, Row},
    process::Details,
    source::snapshot::{Detail, Ends, Held, Protocol, State, UnixName},
};

/// One row as JSON. The keys are part of schema 1.
#[derive(Serialize)]
struct Object<'a> {
    cookie: Option<u64>,
    inode: Option<u32>,
    netns: Option<u32>,
    proto: &'static str,
    family: Option<&'static str>,
    laddr: Option<String>,
    lport: Option<u16>,
    raddr: Option<String>,
    rport: Option<u16>,
    /// Bytes of a Unix socket's name; `@` begins an abstract one.
    path: Option<Cow<'a, str>>,
    peer_inode: Option<u32>,
    state: Option<&'static str>,
    age_seconds: Option<f64>,
    /// A snapshot knows no births: ages are lower bounds.
    age_exact: bool,
    state_seconds: Option<f64>,
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    owner: &'static str,
    container: Option<&'a str>,
    cgroup: Option<&'a str>,
    role: &'static str,
    holders: Vec<Holder<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    recv_queue: Option<u32>,
    send_queue: Option<u32>,
    uid: Option<u32>,
    /// Nothing was followed, so nothing can be vouched for.
    complete: bool,
}

#[derive(Serialize)]
struct Holder<'a> {
    pid: u32,
    fd: u32,
    comm: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
}

impl<'a> Object<'a> {
    fn new(row: &'a Row) -> Self {
        let found = &row.found;
        let owner = row.owner.as_deref();
        let known = |number: u32| (number != 0).then_some(number);
        #[allow(clippy::cast_precision_loss, reason = "to the millisecond")]
        let seconds = |age: Option<Age>| age.map(|Age(ms)| ms as f64 / 1000.0);
        Self {
            cookie: (found.cookie != 0).then_some(found.cookie),
            inode: known(found.inode),
            netns: known(found.netns),
            proto: protocol_word(found.protocol),
            family: Some(family(row)),
            laddr: found.local.address.map(|it| it.to_string()),
            lport: found.local.port,
            raddr: found.remote.address.map(|it| it.to_string()),
            rport: found.remote.port,
            path: path(row),
            peer_inode: peer(row),
            state: state(row),
            age_seconds: seconds(row.age()),
            age_exact: row.told.as_ref().is_some_and(|told| told.age_is_exact),
            state_seconds: seconds(row.in_state()),
            pid: owner.map(|owner| owner.pid),
            comm: owner.and_then(|owner| Some(owner.comm.as_ref()?.text())),
            owner: row.ownership().word(),
            container: owner.and_then(|owner| owner.details.container.as_deref()),
            cgroup: owner.and_then(|owner| owner.details.cgroup.as_deref()),
            role: row.role.word(),
            holders: row.holders.iter().map(Holder::new).collect(),
            class: row.class,
            recv_queue: queue(row, found.recv_queue),
            send_queue: queue(row, found.send_queue),
            uid: found.uid,
            complete: row.told.as_ref().is_some_and(|told| told.complete),
        }
    }
}

impl<'a> Holder<'a> {
    fn new(holding: &'a Holding) -> Self {
        Self {
            pid: holding.process.pid,
            fd: holding.fd,
            comm: holding
                .process
                .comm
                .as_ref()
                .map(crate::process::Comm::text),
            end: end(holding),
        }
    }
}

/// What rows have only if it is named: more of what `/proc` says of the owner.
#[derive(Serialize)]
struct OnRequest<'a> {
    unit: Option<&'a str>,
    pod: Option<String>,
    exe: Option<&'a str>,
}

impl<'a> OnRequest<'a> {
    fn new(row: &'a Row) -> Self {
        let details = row.owner.as_deref().map(|owner| &owner.details);
        Self {
            unit: details.and_then(Details::unit),
            pod: details.and_then(Details::pod),
            exe: details.and_then(|details| details.exe.as_deref()),
        }
    }
}

/// A row with these keys only, in this order.
struct Picked<'a> {
    row: &'a Row,
    keys: &'a [Key],
}

impl Serialize for Picked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = |value: Result<Value, _>| value.map_err(S::Error::custom);
        let all = value(serde_json::to_value(Object::new(self.row)))?;
        let more = value(serde_json::to_value(OnRequest::new(self.row)))?;
        let found = |name| all.get(name).or_else(|| more.get(name));
        serializer.collect_map(self.keys.iter().map(|key| (key.0, found(key.0))))
    }
}

/// The keys, as `docs/sockets.md` describes them.
const KEYS: [&str; 30] = [
    "cookie",
    "inode",
    "netns",
    "proto",
    "family",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "path",
    "peer_inode",
    "state",
    "age_seconds",
    "age_exact",
    "state_seconds",
    "pid",
    "comm",
    "owner",
    "container",
    "cgroup",
    "role",
    "holders",
    "class",
    "recv_queue",
    "send_queue",
    "uid",
    "complete",
    "unit",
    "pod",
    "exe",
];

/// A key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(&'static str);

impl FromStr for Key {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let key = KEYS.into_iter().find(|key| *key == name).map(Self);
        key.ok_or_else(|| format!("there is no field {name:?}; there are {}", KEYS.join(", ")))
    }
}

/// Writes rows as JSON, one object a line or several lines each: all keys but those on request, or
/// only these.
pub fn write_json(
    out: &mut impl Write,
    rows: &[Row],
    keys: Option<&[Key]>,
    pretty: bool,
) -> io::Result<()> {
    rows.iter().try_for_each(|row| match keys {
        Some(keys) => json::write(out, &Picked { row, keys }, pretty),
        None => json::write(out, &Object::new(row), pretty),
    })
}

/// Writes rows as a table.
pub fn write_table(out: &mut impl Write, rows: &[Row], wide: bool) -> io::Result<()> {
    let width = if wide { 45 } else { 22 };
    writeln!(
        out,
        "{:<7} {:<12} {:>6} {:>6} {:<width$} {:<width$} {:>9} {:>9} {:<8} OWNER AND HOLDERS",
        "PROTO", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE", "AGE", "IN STATE", "COOKIE",
    )?;
    for row in rows {
        let found = &row.found;
        let local = match path(row) {
            Some(path) => printable(&path),
            None if found.protocol == Protocol::Pipe => format!("inode {}", found.inode),
            None => text::endpoint(found.local),
        };
        let remote = match peer(row) {
            Some(peer) => format!("inode {peer}"),
            None => text::endpoint(found.remote),
        };
        writeln!(
            out,
            "{:<7} {:<12} {:>6} {:>6} {local:<width$} {remote:<width$} {:>9} {:>9} {:<8} {}",
            protocol_word(found.protocol),
            state(row).unwrap_or("-"),
            told(queue(row, found.recv_queue)),
            told(queue(row, found.send_queue)),
            age(
                row.age(),
                row.told.as_ref().is_some_and(|told| told.age_is_exact)
            ),
            age(
                row.in_state(),
                row.told.as_ref().is_some_and(|told| told.age_is_exact)
            ),
            told((found.cookie != 0).then_some(found.cookie)),
            holders(row),
        )?;
    }
    Ok(())
}

/// This long, or at least this long.
fn age(age: Option<Age>, exact: bool) -> String {
    let least = if exact { "" } else { ">" };
    match age {
        Some(age) => format!("{least}{}", text::duration(age.ns())),
        None => "-".to_owned(),
    }
}

/// `nginx(pid 7 fd 3, pid 8 fd 3)`, or why there is nobody.
fn holders(row: &Row) -> String {
    let mut told = String::new();
    for (index, holding) in row.holders.iter().enumerate() {
        let process = &holding.process;
        let before = index
            .checked_sub(1)
            .and_then(|index| row.holders.get(index));
        let same = before.is_some_and(|before| before.process.comm == process.comm);
        let name = process.comm.map(|comm| printable(&comm.text()));
        if index > 0 {
            told += ", ";
        }
        if !same {
            told += name.as_deref().unwrap_or("?");
            told += " ";
        }
        _ = write!(told, "pid {} fd {}", process.pid, holding.fd);
        if let Some(end) = end(holding) {
            _ = write!(told, " {end}");
        }
    }
    match row.class {
        Some(class) if told.is_empty() => format!("({class})"),
        Some(class) => format!("{told} ({class})"),
        None => told,
    }
}

fn family(row: &Row) -> &'static str {
    match (row.found.family, row.found.protocol) {
        (Some(family), _) => Family::word(family),
        (None, Protocol::Unix) => "unix",
        (None, _) => "other",
    }
}

/// Only TCP, and listeners of other protocols, have states that mean something.
fn state(row: &Row) -> Option<&'static str> {
    match row.found.protocol {
        Protocol::Tcp | Protocol::Mptcp | Protocol::Unix => Some(row.found.state.word()),
        Protocol::Pipe if row.found.state == State::Pipe(Ends::Unknown) => None,
        Protocol::Pipe => Some(row.found.state.word()),
        _ if row.role == Role::Listener => Some(row.found.state.word()),
        Protocol::Udp
        | Protocol::UdpLite
        | Protocol::Raw
        | Protocol::Packet
        | Protocol::Netlink
        | Protocol::Other => None,
    }
}

/// Bytes that wait. What is in a pipe no list says.
fn queue(row: &Row, bytes: u32) -> Option<u32> {
    (row.found.protocol != Protocol::Pipe).then_some(bytes)
}

/// Which end of a pipe it is.
fn end(holding: &Holding) -> Option<&'static str> {
    match holding.held {
        Held::Socket(_) => None,
        Held::Pipe {
            reads: true,
            writes: true,
        } => Some("both"),
        Held::Pipe { writes: true, .. } => Some("writer"),
        Held::Pipe { .. } => Some("reader"),
    }
}

/// What is known, for people.
fn told(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A Unix socket's name: bytes that a process chose.
fn path(row: &Row) -> Option<Cow<'_, str>> {
    let Detail::Unix(unix) = &row.found.detail else {
        return None;
    };
    unix.name.as_ref().map(UnixName::text)
}

fn peer(row: &Row) -> Option<u32> {
    let Detail::Unix(unix) = &row.found.detail else {
        return None;
    };
    unix.peer.filter(|peer| *peer != 0)
}

/// Which of a row's states sort first: what waits for somebody before what works.
pub fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| {
        let found = &row.found;
        let listens = matches!(found.state, State::Tcp(state) if state as u8 == 10);
        (
            protocol_word(found.protocol),
            !listens,
            found.local.port,
            found.remote.port,
            found.cookie,
            found.inode,
        )
    });
}
