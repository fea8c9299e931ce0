//! The workload: TCP connections over loopback, one after the other, as fast as two threads can.
//!
//! They carry nothing, so whatever a tracer adds is the largest share that it can be.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use rustix::{
    net::sockopt::set_socket_linger,
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};

/// Destinations of a thread: a tuple is not used again while its first user is in `TIME_WAIT`.
const DESTINATIONS: usize = 200;

const THREADS: usize = 2;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Close {
    /// The client's FIN, then the server's: ten state changes
    Fin,
    /// A reset: six
    Rst,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Driven {
    /// Wall-clock time, nanoseconds.
    pub(crate) wall_ns: f64,
    /// CPU time of all threads in user and kernel, nanoseconds.
    pub(crate) cpu_ns: f64,
}

/// What runs as a process of its own: says `ready`, and after a line of input makes `connections`
/// and prints what they took; then once more for the next line.
pub(crate) fn drive(connections: usize, close: Close) -> Result<()> {
    let listeners = (0..THREADS)
        .map(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .collect::<io::Result<Vec<_>>>()?;
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    for line in io::stdin().lines() {
        line?;
        let (wall, cpu) = (Instant::now(), cpu_ns());
        thread::scope(|scope| {
            let drivers: Vec<_> = listeners
                .iter()
                .enumerate()
                .map(|(number, listener)| {
                    scope.spawn(move || connect(listener, number, connections / THREADS, close))
                })
                .collect();
            drivers.into_iter().try_for_each(|driver| {
                let end = driver.join().map_err(|_| anyhow!("a thread panicked"))?;
                end.context("a connection failed")
            })
        })?;
        let driven = Driven {
            wall_ns: nanos(wall.elapsed()),
            cpu_ns: cpu_ns() - cpu,
        };
        writeln!(out, "{}", serde_json::to_string(&driven)?)?;
    }
    Ok(())
}

fn connect(listener: &TcpListener, thread: usize, connections: usize, close: Close) -> Result<()> {
    let port = listener.local_addr()?.port();
    let third = u8::try_from(thread)?;
    for number in 0..connections {
        let fourth = u8::try_from(number % DESTINATIONS + 1)?;
        let client = TcpStream::connect((Ipv4Addr::new(127, 0, third, fourth), port))?;
        let (mut server, _) = listener.accept()?;
        if close == Close::Rst {
            set_socket_linger(&client, Some(Duration::ZERO))?;
        }
        drop(client);
        // The server sees that the client has closed, and closes too.
        drop(server.read(&mut [0]));
    }
    Ok(())
}

/// CPU time of this process, nanoseconds.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    nanos(Duration::try_from(time).unwrap_or_default())
}

#[allow(clippy::cast_precision_loss, reason = "a year has 25 bits more")]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}
