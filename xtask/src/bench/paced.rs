//! The workload of a machine that has something to do: TCP connections over loopback, so many a
//! second and no more.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// Nobody means more when they say paced; who wants the highest rate takes `drive`.
const MOST_A_SECOND: u32 = 10_000;

/// What runs as a process of its own: `rate` connections a second for so many seconds, the client
/// closes first. One that comes late is not made up for by a burst of more than ten.
pub(crate) fn pace(rate: u32, seconds: u64) -> Result<()> {
    ensure!(
        (1..=MOST_A_SECOND).contains(&rate),
        "from 1 to {MOST_A_SECOND} connections a second"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (step, most_late) = (
        Duration::from_secs(1) / rate,
        Duration::from_secs(10) / rate,
    );
    let begin = Instant::now();
    let mut due = begin;
    while begin.elapsed() < Duration::from_secs(seconds) {
        let now = Instant::now();
        if now < due {
            sleep(due - now);
        } else if now > due + most_late {
            due = now;
        }
        due += step;
        let client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        drop(client);
        // The server sees that the client has closed, and closes too.
        drop(server.read(&mut [0]));
    }
    Ok(())
}
