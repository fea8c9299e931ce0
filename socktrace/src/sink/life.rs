//! One line for each ended connection: tcplife's columns in tcplife's order.

use std::io::{self, Write};

use super::{
    Sink, Times,
    plain::{
        Column::{self, Left, Right},
        address, decimal, kilobytes, milliseconds, pad,
    },
    text,
};
use crate::{
    change::{Change, Endpoint, Protocol, UnixName, What},
    clock::Clock,
    field::printable,
    table::{Look, Looks},
};

/// Writes lives.
pub struct Life<W: Write> {
    out: W,
    times: Times,
    width: usize,
    begun: bool,
    line: Vec<u8>,
}

impl<W: Write> Life<W> {
    /// `wide` makes room for IPv6 addresses.
    pub fn new(out: W, times: Times, wide: bool) -> Self {
        Self {
            out,
            times,
            width: if wide { 39 } else { 15 },
            begun: false,
            line: Vec::new(),
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
        let (line, width, socket) = (&mut self.line, Left(self.width), &change.socket);
        let owner = socket.owner.as_deref();
        line.clear();
        text::time(line, self.times, change, clock)?;
        cell(line, Left(7), owner.map(|it| it.pid.into()), decimal);
        cell(
            line,
            Left(15),
            owner.and_then(|it| it.comm),
            |line, comm| {
                let name = comm.as_bytes();
                if name.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                    line.extend_from_slice(name);
                } else {
                    line.extend_from_slice(printable(&comm.text()).as_bytes());
                }
            },
        );
        for (endpoint, name) in [
            (socket.local, socket.local_name()),
            (socket.remote, socket.remote_name()),
        ] {
            place(line, width, endpoint, name);
            cell(line, Left(5), endpoint.port.map(u64::from), decimal);
        }
        cell(line, Right(8), bytes.map(|it| it.sent), kilobytes);
        cell(line, Right(8), bytes.map(|it| it.received), kilobytes);
        cell(line, Right(10), *lifetime_ns, milliseconds);
        // In the place of the last space.
        line.pop();
        line.push(b'\n');
        self.out.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An address, or the name of a Unix socket.
fn place(line: &mut Vec<u8>, column: Column, endpoint: Endpoint, name: Option<&UnixName>) {
    match name {
        Some(name) => cell(line, column, Some(name), |line, name| {
            line.extend_from_slice(printable(&name.text()).as_bytes());
        }),
        None => cell(line, column, endpoint.address, address),
    }
}

/// What is not known is a dash.
fn cell<T>(
    line: &mut Vec<u8>,
    column: Column,
    value: Option<T>,
    write: impl FnOnce(&mut Vec<u8>, T),
) {
    let from = line.len();
    match value {
        Some(value) => write(line, value),
        None => line.push(b'-'),
    }
    pad(line, from, column);
    line.push(b' ');
}

/// Rows that become none of a life are not looked at.
pub const LOOKS: Looks = Looks {
    changes: Look::None,
    others: |protocol, what| match what {
        What::State { .. } | What::Lost { .. } => Look::Full,
        What::End { .. } if protocol != Protocol::Tcp => Look::Full,
        _ => Look::None,
    },
};

/// Makes of a change that ends a connection the row of a life: `end`, as of the connection. The socket
/// itself may go on, with a descriptor that nobody closes or with another connection. What is not TCP has no
/// other life than its socket's. False if there is no row of it.
pub fn ends(change: &mut Change) -> bool {
    match change.what {
        What::State {
            outcome: Some(outcome),
            role,
            ..
        } => {
            change.what = What::End {
                lifetime_ns: outcome.duration_ns,
                role,
                reason: outcome.reason,
                bytes: Some(outcome.bytes),
            };
            true
        }
        What::Lost { .. } => true,
        What::End { .. } => change.socket.protocol != Some(Protocol::Tcp),
        _ => false,
    }
}
