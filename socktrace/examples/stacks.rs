//! Runs a program while its calls are followed, for `cargo xtask bench stacks`: by nobody, without
//! their stacks, or with them. What is told is taken from the ring and thrown away.
//!
//! `stacks none|off|on COMMAND [ARGUMENT…]`

use std::{
    env,
    error::Error,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use socktrace::{
    probe::{Plan, Probes},
    source::snapshot::Protocol,
};

/// As `leaks` has it.
const RING: u32 = 8 << 20;
const STACKS: u32 = 8192;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let stacks = match arguments.next().as_deref() {
        Some("none") => None,
        Some("off") => Some(0),
        Some("on") => Some(STACKS),
        other => return Err(format!("none, off or on, not {other:?}").into()),
    };
    let mut command = Command::new(arguments.next().ok_or("no command")?);
    command.args(arguments);
    let Some(stacks) = stacks else {
        return Ok(exit(command.status()?.success()));
    };
    let plan = Plan {
        stacks,
        ..Plan::everything(&[Protocol::Tcp], RING)
    };
    let mut probes = Probes::attach(&plan)?;
    let mut ring = probes.take_ring()?;
    let mut child = command.spawn()?;
    loop {
        while ring.next().is_some() {}
        if let Some(status) = child.try_wait()? {
            let lost = probes.counters()?.lost_ring;
            return Ok(exit(status.success() && lost == 0));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn exit(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
