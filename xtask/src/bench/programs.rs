//! What BPF programs take in the kernel, as the kernel counts it.

use std::{
    hint::black_box,
    ops::Sub,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use rustix::process::{Pid, Signal, getppid, kill_process};
use serde::Deserialize;

use crate::util::output;

/// What an empty program is said to take, the two readings of the clock around it, where that cannot be
/// measured: as seen on an AMD EPYC.
const CLOCK_PAIR_NS: f64 = 40.0;

/// Attached where the only caller is the one below.
const EMPTY: &str = "tracepoint:syscalls:sys_enter_getppid { $nothing = 1; }";
const EMPTY_RUNS: u32 = 300_000;
/// Longer than bpftrace takes to attach.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kernel counts while this is held, and no longer, however the program ends (5.8).
pub(crate) struct Statistics {
    _held: OwnedFd,
}

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        let held = enable_stats(Stats::RunTime).context("the kernel counts no runs of programs")?;
        Ok(Self { _held: held })
    }
}

/// Runs of all BPF programs of the machine, and what they took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: f64,
    time_ns: f64,
}

/// A program, as bpftool shows it.
#[derive(Deserialize)]
struct Program {
    #[serde(default)]
    run_cnt: u64,
    #[serde(default)]
    run_time_ns: u64,
}

impl Runs {
    /// So far, while the kernel counts.
    #[allow(clippy::cast_precision_loss, reason = "years of nanoseconds fit")]
    pub(crate) fn now() -> Result<Self> {
        let text = output(Command::new("bpftool").args(["--json", "prog", "show"]))?;
        let programs: Vec<Program> = serde_json::from_str(&text)?;
        Ok(Self {
            count: programs.iter().map(|program| program.run_cnt as f64).sum(),
            time_ns: programs
                .iter()
                .map(|program| program.run_time_ns as f64)
                .sum(),
        })
    }

    /// Nanoseconds in the programs themselves, if an empty one takes so many.
    pub(crate) fn body_ns(&self, empty: f64) -> f64 {
        (self.time_ns - self.count * empty).max(0.0)
    }
}

/// What the kernel says that an empty program takes on this machine now: nanoseconds. Asks bpftrace for
/// one; without bpftrace it is assumed.
pub(crate) fn empty_ns() -> Result<f64> {
    let _statistics = Statistics::on()?;
    let mut bpftrace = Command::new("bpftrace");
    bpftrace.args(["-e", EMPTY]);
    bpftrace
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut bpftrace) = bpftrace.spawn() else {
        return Ok(CLOCK_PAIR_NS);
    };
    let begin = Instant::now();
    let mut empty = Runs::default();
    while begin.elapsed() < PATIENCE && empty.count < f64::from(EMPTY_RUNS) / 2.0 {
        sleep(Duration::from_millis(500));
        let before = Runs::now()?;
        for _ in 0..EMPTY_RUNS {
            black_box(getppid());
        }
        empty = Runs::now()? - before;
    }
    kill_process(Pid::from_child(&bpftrace), Signal::INT)?;
    bpftrace.wait()?;
    let attached = empty.count >= f64::from(EMPTY_RUNS) / 2.0;
    Ok(if attached {
        empty.time_ns / empty.count
    } else {
        CLOCK_PAIR_NS
    })
}

impl Sub for Runs {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            time_ns: self.time_ns - before.time_ns,
        }
    }
}
