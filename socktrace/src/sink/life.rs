//! One line for each ended connection: tcplife's columns in tcplife's order.

use std::io::{self, Write};

use super::{Sink, Times, text};
use crate::{
    change::{Change, Protocol, What},
    clock::Clock,
    field::{Field, Value},
};

/// Writes lives.
pub struct Life<W: Write> {
    out: W,
    times: Times,
    width: usize,
    begun: bool,
}

impl<W: Write> Life<W> {
    /// `wide` makes room for IPv6 addresses.
    pub fn new(out: W, times: Times, wide: bool) -> Self {
        Self {
            out,
            times,
            width: if wide { 39 } else { 15 },
            begun: false,
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let width = self.width;
        text::time_header(&mut self.out, self.times)?;
        writeln!(
            self.out,
            "{:<7} {:<15} {:<width$} {:<5} {:<width$} {:<5} {:>8} {:>8} {:>10}",
            "PID", "COMM", "LADDR", "LPORT", "RADDR", "RPORT", "TX_KB", "RX_KB", "MS"
        )
    }
}

impl<W: Write> Sink for Life<W> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "kilobytes and milliseconds are shown"
    )]
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.header()?;
        }
        let What::End {
            lifetime_ns, bytes, ..
        } = &change.what
        else {
            return text::aside(&mut self.out, change);
        };
        let width = self.width;
        let kilobytes = |bytes: Option<u64>| {
            bytes.map_or_else(
                || "-".to_owned(),
                |bytes| format!("{:.1}", bytes as f64 / 1024.0),
            )
        };
        let socket = &change.socket;
        text::time(&mut self.out, self.times, change, clock)?;
        writeln!(
            self.out,
            "{:<7} {:<15} {:<width$} {:<5} {:<width$} {:<5} {:>8} {:>8} {:>10}",
            text::pid(change),
            text::comm(change),
            address(change, Field::Laddr, clock),
            text::or_dash(socket.local.port),
            address(change, Field::Raddr, clock),
            text::or_dash(socket.remote.port),
            kilobytes(bytes.map(|bytes| bytes.sent)),
            kilobytes(bytes.map(|bytes| bytes.received)),
            lifetime_ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.2}", ns as f64 / 1e6)),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An address, or the name of a Unix socket.
fn address(change: &Change, field: Field, clock: &Clock) -> String {
    match change.value(field, clock) {
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

/// May it end a connection?
pub fn may_end(what: &What) -> bool {
    let over = matches!(
        what,
        What::State {
            outcome: Some(_),
            ..
        }
    );
    over || matches!(what, What::End { .. } | What::Lost { .. })
}

/// The row of a life, if this change ends a connection: `end`, as of the connection. The socket
/// itself may go on, with a descriptor that nobody closes or with another connection. What is not
/// TCP has no other life than its socket's.
pub fn ended(change: &Change) -> Option<Change> {
    let What::State {
        outcome: Some(outcome),
        role,
        ..
    } = change.what
    else {
        let tcp = change.socket.protocol == Some(Protocol::Tcp);
        let shown = match change.what {
            What::Lost { .. } => true,
            What::End { .. } => !tcp,
            _ => false,
        };
        return shown.then(|| change.clone());
    };
    Some(Change {
        what: What::End {
            lifetime_ns: outcome.duration_ns,
            role,
            reason: outcome.reason,
            bytes: Some(outcome.bytes),
        },
        ..change.clone()
    })
}
