//! What BPF programs take in the kernel, as the kernel counts it.

use std::{fs, ops::Sub, process::Command};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::util::output;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What an empty program is said to take: the two readings of the clock around it.
const CLOCK_PAIR_NS: f64 = 40.0;

/// The kernel counts while this is held.
pub(crate) struct Statistics {
    before: String,
}

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH)?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        drop(fs::write(SWITCH, &self.before));
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
    /// So far. Zeros unless `counted`, as asking costs time.
    #[allow(clippy::cast_precision_loss, reason = "years of nanoseconds fit")]
    pub(crate) fn now(counted: bool) -> Result<Self> {
        if !counted {
            return Ok(Self::default());
        }
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

    /// Nanoseconds in the programs themselves.
    pub(crate) fn body_ns(&self) -> f64 {
        (self.time_ns - self.count * CLOCK_PAIR_NS).max(0.0)
    }
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
