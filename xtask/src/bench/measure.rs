//! What a command costs, and how costs are compared.

use std::{
    fmt, fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

/// Clock ticks of `/proc/PID/stat` are hundredths of a second.
const TICK_MS: f64 = 10.0;

/// Runs a command, its output thrown away; its CPU time in user and kernel, milliseconds.
pub(crate) fn cpu_ms(command: &mut Command) -> Result<f64> {
    let before = children_ms()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(children_ms()? - before)
}

/// CPU time of all children that have ended: fields 16 and 17 of `/proc/self/stat`.
fn children_ms() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(16 - 3).take(2);
    let ticks: Vec<f64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() * TICK_MS)
}

/// How values lie: the one in the middle, and those at a quarter and three quarters.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quarter: f64,
    pub(crate) three_quarters: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            let last = values.len().saturating_sub(1);
            values.get(last * quarters / 4).copied().unwrap_or(f64::NAN)
        };
        Self {
            median: median(values.clone()),
            quarter: at(1),
            three_quarters: at(3),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            quarter,
            three_quarters,
        } = self;
        write!(f, "{median:.2}× ({quarter:.2}–{three_quarters:.2})")
    }
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
