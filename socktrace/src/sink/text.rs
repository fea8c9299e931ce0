//! Columns for people.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

use super::{Sink, Times};
use crate::{
    change::{Change, Endpoint, Learned, Protocol, UnixName, What, state_word},
    clock::Clock,
    endpoint::protocol_word,
    errno,
    field::{Field, printable},
};

/// Writes what happens, a line each.
pub struct Text<W: Write> {
    out: W,
    times: Times,
    width: usize,
    more: bool,
    color: bool,
    begun: bool,
}

impl<W: Write> Text<W> {
    /// `wide` makes room for IPv6 addresses, `more` adds columns.
    pub fn new(out: W, times: Times, wide: bool, more: bool, color: bool) -> Self {
        Self {
            out,
            times,
            width: if wide || more { 45 } else { 21 },
            more,
            color,
            begun: false,
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let width = self.width;
        time_header(&mut self.out, self.times)?;
        if self.more {
            write!(self.out, "{:<8} {:<10} {:<10} ", "COOKIE", "INODE", "NETNS")?;
        }
        writeln!(
            self.out,
            "{:<7} {:<15} {:>4} {:<7} {:<8} {:<width$} {:<width$} DETAIL",
            "PID", "COMM", "FD", "PROTO", "EVENT", "LOCAL", "REMOTE"
        )
    }
}

impl<W: Write> Sink for Text<W> {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.header()?;
        }
        if matches!(change.what, What::Lost { .. }) {
            return aside(&mut self.out, change);
        }
        let (width, socket) = (self.width, &change.socket);
        time(&mut self.out, self.times, change, clock)?;
        if self.more {
            let (cookie, inode) = (or_dash(socket.cookie), or_dash(socket.inode));
            write!(
                self.out,
                "{cookie:<8} {inode:<10} {:<10} ",
                or_dash(socket.netns)
            )?;
        }
        let style = if self.color {
            style(&change.what)
        } else {
            Style::new()
        };
        writeln!(
            self.out,
            "{:<7} {:<15} {:>4} {:<7} {style}{:<8}{style:#} {:<width$} {:<width$} {}",
            pid(change),
            comm(change),
            or_dash(change.fd),
            or_dash(socket.protocol.map(protocol_word)),
            change.what.kind().word(),
            place(socket.local, socket.local_name()),
            place(socket.remote, socket.remote_name()),
            detail(change),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The columns that the user named.
pub struct Columns<W: Write> {
    out: W,
    fields: Vec<Field>,
    times: Times,
    begun: bool,
}

impl<W: Write> Columns<W> {
    /// These, in this order.
    pub fn new(out: W, fields: Vec<Field>, times: Times) -> Self {
        Self {
            out,
            fields,
            times,
            begun: false,
        }
    }
}

impl<W: Write> Sink for Columns<W> {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        let width = |field: Field| match field {
            Field::Ts => 30,
            Field::Laddr | Field::Raddr | Field::Comm => 15,
            _ => field.name().len().max(8),
        };
        if !self.begun {
            self.begun = true;
            time_header(&mut self.out, self.times)?;
            for &field in &self.fields {
                write!(
                    self.out,
                    "{:<1$} ",
                    field.name().to_uppercase(),
                    width(field)
                )?;
            }
            writeln!(self.out)?;
        }
        time(&mut self.out, self.times, change, clock)?;
        for &field in &self.fields {
            let value = change.value(field, clock).to_string();
            let value = if value.is_empty() { "-" } else { &value };
            write!(self.out, "{value:<0$} ", width(field))?;
        }
        writeln!(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is particular about this row, in words.
fn detail(change: &Change) -> String {
    let by = change
        .other_actor()
        .map(|pid| format!(" by pid {pid}"))
        .unwrap_or_default();
    let failed = |error: &Option<i32>| match error {
        Some(error) => errno::name(*error).into_owned(),
        None => "ok".to_owned(),
    };
    let tcp = change.socket.protocol == Some(Protocol::Tcp);
    let text = match &change.what {
        What::Socket { .. } => change.value(Field::Type, &NO_CLOCK).to_string(),
        What::Bind { error, .. } => failed(error),
        What::Listen { backlog, error } => format!("{}, backlog {backlog}", failed(error)),
        What::Connect { error, latency_ns } => match latency_ns {
            Some(ns) => format!("{} in {}", failed(error), duration(*ns)),
            None if error.is_none() && !tcp && !change.socket.has_peer() => {
                "disconnected".to_owned()
            }
            None => failed(error),
        },
        What::Accept { queued_ns, .. } => match queued_ns {
            Some(ns) => format!("queued {}", duration(*ns)),
            None if tcp => "queued before we looked".to_owned(),
            None => "ok".to_owned(),
        },
        What::State {
            old,
            new,
            in_old_ns,
            ..
        } => {
            let change = format!("{} -> {}", state_word(*old), state_word(*new));
            match in_old_ns {
                Some(ns) => format!("{change} after {}", duration(*ns)),
                None => change,
            }
        }
        What::Close { by, holders_left } => match holders_left {
            Some(left @ 1..) => format!("{}, {left} left", by.word()),
            Some(0) => format!("{}, the last", by.word()),
            None => by.word().to_owned(),
        },
        What::End {
            lifetime_ns,
            role,
            reason,
            bytes,
        } => {
            let mut text = format!("{} {}", role.word(), reason.word());
            if let Some(ns) = lifetime_ns {
                _ = write!(text, " after {}", duration(*ns));
            }
            if let Some(bytes) = bytes {
                _ = write!(
                    text,
                    ", sent {} B, received {} B",
                    bytes.sent, bytes.received
                );
            }
            text
        }
        What::Snapshot {
            learned,
            old,
            new,
            in_state_ns,
            ..
        } => {
            let mut text = match learned {
                Learned::Open => match new {
                    Some(new) => format!("open: {}", state_word(*new)),
                    None => "open".to_owned(),
                },
                Learned::Gone => match old {
                    Some(old) => format!("gone: was {}", state_word(*old)),
                    None => "gone".to_owned(),
                },
                Learned::State | Learned::Address => match (learned, old, new) {
                    (Learned::State, Some(old), Some(new)) => {
                        format!("{}, was {}", state_word(*new), state_word(*old))
                    }
                    _ => format!("{} learned", learned.word()),
                },
                Learned::Owner | Learned::Holders | Learned::TimeWait => {
                    format!("{} learned", learned.word())
                }
            };
            if let (Learned::Open, Some(ns @ SECOND..)) = (learned, in_state_ns) {
                _ = write!(text, " for at least {}", duration(*ns));
            }
            text
        }
        What::Lost { .. } => String::new(),
    };
    text + &by
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Words need no clock.
const NO_CLOCK: Clock = Clock {
    ahead_ns: 0,
    began_ns: 0,
};

/// A loss, between the rows where it happened.
pub(super) fn aside(out: &mut impl Write, change: &Change) -> io::Result<()> {
    if let What::Lost { count, place } = &change.what {
        writeln!(
            out,
            "--- {count} events were lost here ({}) ---",
            place.word()
        )?;
    }
    Ok(())
}

fn style(what: &What) -> Style {
    let color = match what {
        What::Connect { error: Some(_), .. }
        | What::Bind { error: Some(_), .. }
        | What::Listen { error: Some(_), .. } => AnsiColor::Red,
        What::State { .. } => return Style::new().dimmed(),
        What::Connect { .. } | What::Accept { .. } => AnsiColor::Green,
        What::Close { .. } | What::End { .. } => AnsiColor::Yellow,
        What::Socket { .. }
        | What::Bind { .. }
        | What::Listen { .. }
        | What::Snapshot { .. }
        | What::Lost { .. } => AnsiColor::Cyan,
    };
    color.on_default()
}

pub(super) fn time_header(out: &mut impl Write, times: Times) -> io::Result<()> {
    match times {
        Times::None => Ok(()),
        Times::Clock => write!(out, "{:<12} ", "TIME"),
        Times::Elapsed => write!(out, "{:>11} ", "TIME(s)"),
    }
}

pub(super) fn time(
    out: &mut impl Write,
    times: Times,
    change: &Change,
    clock: &Clock,
) -> io::Result<()> {
    match times {
        Times::None => Ok(()),
        Times::Clock => write!(out, "{:<12} ", clock.local(change.mono_ns)),
        Times::Elapsed => write!(out, "{:>11.6} ", clock.elapsed(change.mono_ns)),
    }
}

pub(super) fn pid(change: &Change) -> String {
    or_dash(change.socket.owner.as_ref().map(|process| process.pid))
}

pub(super) fn comm(change: &Change) -> String {
    let comm = change
        .socket
        .owner
        .as_ref()
        .and_then(|process| process.comm);
    comm.map_or_else(|| "-".to_owned(), |comm| printable(&comm.text()))
}

pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// An address and a port, or what stands for them with Unix sockets.
fn place(at: Endpoint, name: Option<&UnixName>) -> String {
    name.map_or_else(|| endpoint(at), |name| printable(&name.text()))
}

/// `10.0.0.1:80`, `[::1]:80`; without an address or port, what is known.
pub fn endpoint(endpoint: Endpoint) -> String {
    match (endpoint.address, endpoint.port) {
        (Some(std::net::IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!("*:{port}"),
        (None, None) => "-".to_owned(),
    }
}

/// Three digits and a unit that fits.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn duration(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match ns {
        0..1_000_000 => format!("{:.0} us", seconds * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}
