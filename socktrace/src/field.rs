//! The keys of a row: written once here, for JSON, CSV, `--fields` and `--filter`.

mod common;

use std::{borrow::Cow, fmt, net::IpAddr};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use socktrace_common::{event::EventKind, socket::TcpState};

use crate::{
    change::{Change, Endpoint, Kind, UnixName, What, state_word},
    clock::Clock,
    endpoint::protocol_word,
    errno,
};

pub use self::common::{COMMON, Put, put_common};

/// Version of the rows' schema.
pub const SCHEMA: u64 = 1;

macro_rules! fields {
    ($($variant:ident => $name:literal,)+) => {
        /// A key of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "docs/events.md says what each holds")]
        pub enum Field {
            $($variant,)+
        }

        impl Field {
            /// Every key.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is spelled in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The same in quotes, between a comma and a colon.
            #[inline]
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(",\"", $name, "\":"),)+
                }
            }
        }
    };
}

fields! {
    Schema => "schema",
    Ts => "ts",
    MonoNs => "mono_ns",
    Event => "event",
    Cookie => "cookie",
    Inode => "inode",
    Netns => "netns",
    Proto => "proto",
    Family => "family",
    Laddr => "laddr",
    Lport => "lport",
    Raddr => "raddr",
    Rport => "rport",
    Pid => "pid",
    Tid => "tid",
    Comm => "comm",
    Owner => "owner",
    Fd => "fd",
    Container => "container",
    Cgroup => "cgroup",
    ActorPid => "actor_pid",
    Type => "type",
    Error => "error",
    Backlog => "backlog",
    LatencyUs => "latency_us",
    QueuedUs => "queued_us",
    ListenerCookie => "listener_cookie",
    Old => "old",
    New => "new",
    InOldUs => "in_old_us",
    By => "by",
    HoldersLeft => "holders_left",
    LifetimeUs => "lifetime_us",
    Role => "role",
    Reason => "reason",
    TxBytes => "tx_bytes",
    RxBytes => "rx_bytes",
    Learned => "learned",
    AgeSeconds => "age_seconds",
    StateSeconds => "state_seconds",
    Count => "count",
    Where => "where",
    Unit => "unit",
    Pod => "pod",
    Exe => "exe",
    Uid => "uid",
}

/// Keys that only those rows have whose reader names them: more of what `/proc` says of the owner.
pub const ON_REQUEST: &[Field] = &[Field::Unit, Field::Pod, Field::Exe, Field::Uid];

/// Keys that rows of this kind add.
pub fn added(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Socket => &[Field::Type],
        Kind::Bind => &[Field::Error],
        Kind::Listen => &[Field::Backlog, Field::Error],
        Kind::Connect => &[Field::Error, Field::LatencyUs],
        Kind::Accept => &[Field::QueuedUs, Field::ListenerCookie],
        Kind::State => &[Field::Old, Field::New, Field::InOldUs],
        Kind::Close => &[Field::By, Field::HoldersLeft],
        Kind::End => &[
            Field::LifetimeUs,
            Field::Role,
            Field::Reason,
            Field::TxBytes,
            Field::RxBytes,
        ],
        Kind::Snapshot => &[
            Field::Learned,
            Field::Old,
            Field::New,
            Field::AgeSeconds,
            Field::StateSeconds,
        ],
        Kind::Lost => &[Field::Count, Field::Where],
    }
}

impl Field {
    /// Does only `/proc` know it?
    pub fn is_detail(self) -> bool {
        matches!(self, Self::Cgroup | Self::Container) || ON_REQUEST.contains(&self)
    }
}

/// What a key holds in one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Not known, or no part of this kind of row.
    Null,
    /// A number.
    Number(u64),
    /// A word of ours.
    Word(&'a str),
    /// Text that a traced process chose: escape it.
    Text(Cow<'a, str>),
    /// A time: RFC 3339 in UTC, always with nine digits.
    Time(Timestamp),
    /// An address.
    Address(IpAddr),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Word(word) => serializer.serialize_str(word),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Address(address) => serializer.collect_str(address),
            Self::Time(time) => serializer.collect_str(&format_args!("{time:.9}")),
        }
    }
}

/// Fit for a terminal and for CSV: nothing is left that moves a cursor or ends a line.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(&printable(text)),
            Self::Address(address) => address.fmt(f),
            Self::Time(time) => write!(f, "{time:.9}"),
        }
    }
}

/// Moves a cursor, ends a line or turns text around. All of them are below U+10000.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Replaces what is harmful by its escape (`\n`, `\u{1b}`).
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

impl Change {
    /// What `field` holds in this row.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "most callers name the field")]
    pub fn value(&self, field: Field, clock: &Clock) -> Value<'_> {
        let socket = &self.socket;
        let owner = socket.owner.as_deref();
        match field {
            Field::Schema => Value::Number(SCHEMA),
            Field::Ts => Value::Time(clock.wall(self.mono_ns)),
            Field::MonoNs => Value::Number(self.mono_ns),
            Field::Event => Value::Word(self.what.kind().word()),
            Field::Cookie => number(socket.cookie),
            Field::Inode => number(socket.inode),
            Field::Netns => number(socket.netns),
            Field::Proto => word(socket.protocol.map(protocol_word)),
            Field::Family => word(socket.family.map(crate::change::Family::word)),
            Field::Laddr => place(socket.local, socket.local_name()),
            Field::Lport => number(socket.local.port),
            Field::Raddr => place(socket.remote, socket.remote_name()),
            Field::Rport => number(socket.remote.port),
            Field::Pid => number(owner.map(|process| process.pid)),
            Field::Tid => number(self.tid),
            Field::Comm => text(owner.and_then(|owner| Some(owner.comm.as_ref()?.text()))),
            Field::Owner => Value::Word(socket.ownership.word()),
            Field::Fd => number(self.fd.and_then(|fd| u32::try_from(fd).ok())),
            Field::Container => text(owner.and_then(|owner| owner.details.container.as_deref())),
            Field::Cgroup => text(owner.and_then(|owner| owner.details.cgroup.as_deref())),
            Field::Unit => text(owner.and_then(|owner| owner.details.unit())),
            Field::Pod => text(owner.and_then(|owner| owner.details.pod())),
            Field::Exe => text(owner.and_then(|owner| owner.details.exe.as_deref())),
            Field::Uid => number(owner.and_then(|owner| owner.details.uid)),
            Field::ActorPid => number(self.other_actor()),
            _ => self.what.value(field),
        }
    }

    /// The process that acted, if it is known and not the owner.
    pub fn other_actor(&self) -> Option<u32> {
        let owner = self.socket.owner.as_ref().map(|process| process.pid);
        self.actor.filter(|actor| Some(*actor) != owner)
    }
}

impl What {
    fn value(&self, field: Field) -> Value<'static> {
        match (self, field) {
            (Self::Socket { socket_type }, Field::Type) => match socket_type {
                1 => Value::Word("stream"),
                2 => Value::Word("dgram"),
                3 => Value::Word("raw"),
                5 => Value::Word("seqpacket"),
                _ => Value::Null,
            },
            (
                Self::Bind { error, .. } | Self::Listen { error, .. } | Self::Connect { error, .. },
                Field::Error,
            ) => text(error.map(errno::name)),
            (Self::Listen { backlog, .. }, Field::Backlog) => number(u32::try_from(*backlog).ok()),
            (Self::Connect { latency_ns, .. }, Field::LatencyUs) => micros(*latency_ns),
            (Self::Accept { queued_ns, .. }, Field::QueuedUs) => micros(*queued_ns),
            (Self::Accept { listener, .. }, Field::ListenerCookie) => number(*listener),
            (Self::State { old, .. }, Field::Old) => Value::Word(state_word(*old)),
            (Self::State { new, .. }, Field::New) => Value::Word(state_word(*new)),
            (Self::State { in_old_ns, .. }, Field::InOldUs) => micros(*in_old_ns),
            (Self::Close { by, .. }, Field::By) => Value::Word(by.word()),
            (Self::Close { holders_left, .. }, Field::HoldersLeft) => number(*holders_left),
            (Self::End { lifetime_ns, .. }, Field::LifetimeUs) => micros(*lifetime_ns),
            (Self::End { role, .. }, Field::Role) => Value::Word(role.word()),
            (Self::End { reason, .. }, Field::Reason) => Value::Word(reason.word()),
            (Self::End { bytes, .. }, Field::TxBytes) => number(bytes.map(|bytes| bytes.sent)),
            (Self::End { bytes, .. }, Field::RxBytes) => number(bytes.map(|bytes| bytes.received)),
            (Self::Snapshot { learned, .. }, Field::Learned) => Value::Word(learned.word()),
            (Self::Snapshot { old, .. }, Field::Old) => state(*old),
            (Self::Snapshot { new, .. }, Field::New) => state(*new),
            (Self::Snapshot { age_ns, .. }, Field::AgeSeconds) => seconds(*age_ns),
            (Self::Snapshot { in_state_ns, .. }, Field::StateSeconds) => seconds(*in_state_ns),
            (Self::Lost { count, .. }, Field::Count) => Value::Number(*count),
            (Self::Lost { place, .. }, Field::Where) => Value::Word(place.word()),
            _ => Value::Null,
        }
    }
}

/// An address, or what stands for it with Unix sockets.
fn place(endpoint: Endpoint, name: Option<&UnixName>) -> Value<'_> {
    match name {
        Some(name) => Value::Text(name.text()),
        None => endpoint.address.map_or(Value::Null, Value::Address),
    }
}

fn number(number: Option<impl Into<u64>>) -> Value<'static> {
    number.map_or(Value::Null, |number| Value::Number(number.into()))
}

fn word(word: Option<&'static str>) -> Value<'static> {
    word.map_or(Value::Null, Value::Word)
}

fn text<'a>(text: Option<impl Into<Cow<'a, str>>>) -> Value<'a> {
    text.map_or(Value::Null, |text| Value::Text(text.into()))
}

fn state(state: Option<TcpState>) -> Value<'static> {
    word(state.map(state_word))
}

fn micros(ns: Option<u64>) -> Value<'static> {
    number(ns.map(|ns| ns / 1_000))
}

fn seconds(ns: Option<u64>) -> Value<'static> {
    number(ns.map(|ns| ns / 1_000_000_000))
}

/// A key that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field {name:?}; there are {}", names())]
pub struct UnknownField {
    name: String,
}

fn names() -> String {
    let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
    names.join(", ")
}

impl std::str::FromStr for Field {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, UnknownField> {
        Self::ALL
            .iter()
            .copied()
            .find(|field| field.name() == name)
            .ok_or_else(|| UnknownField { name: name.into() })
    }
}

/// The record kinds that rows of this kind are made from.
pub fn records(kind: Kind) -> &'static [EventKind] {
    match kind {
        Kind::Socket => &[EventKind::Socket],
        Kind::Bind => &[EventKind::Bind],
        Kind::Listen => &[EventKind::Listen],
        Kind::Connect => &[EventKind::Connect],
        Kind::Accept => &[EventKind::Accept],
        Kind::State => &[EventKind::State],
        Kind::Close => &[EventKind::Close],
        Kind::End => &[EventKind::Destroy],
        Kind::Snapshot | Kind::Lost => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_reach_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(printable("nginx: wörker"), "nginx: wörker");
    }

    #[test]
    fn every_field_is_found_by_its_name() {
        for &field in Field::ALL {
            assert_eq!(field.name().parse(), Ok(field));
        }
        let error = "pidd".parse::<Field>().unwrap_err().to_string();
        assert!(error.starts_with("there is no field \"pidd\""), "{error}");
    }
}
