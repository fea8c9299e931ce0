//! The hooks, and what they cost.

use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

use crate::{
    exporter::HookRuns,
    probe::{Probes, attach::Status},
};

/// A hook, as `/api/v1/hooks` has it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::commands) struct Hook {
    #[serde(rename = "hook")]
    name: &'static str,
    attached: bool,
    /// Not as it should be, and why.
    reason: Option<String>,
    /// While `kernel.bpf_stats_enabled` is 1.
    runs: Option<u64>,
    run_seconds: Option<f64>,
}

/// All that were wanted.
pub(super) fn hooks(probes: &Probes) -> Vec<Hook> {
    let hooks = each(probes).map(|(name, status, runs)| {
        let (attached, reason) = match status {
            Status::Attached => (true, None),
            Status::Fallback(reason) => (true, Some(reason.clone())),
            Status::Missing(reason) => (false, Some(reason.clone())),
        };
        Hook {
            name,
            attached,
            reason,
            runs: runs.map(|(count, _)| count),
            run_seconds: runs.map(|(_, took)| took.as_secs_f64()),
        }
    });
    hooks.collect()
}

/// The same for metrics.
pub(super) fn measured(probes: &Probes) -> Vec<(&'static str, bool, Option<HookRuns>)> {
    let hooks = each(probes).map(|(name, status, runs)| {
        let attached = !matches!(status, Status::Missing(_));
        let runs = runs.map(|(count, took)| HookRuns {
            count,
            ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        });
        (name, attached, runs)
    });
    hooks.collect()
}

/// Its name, how it is attached, and how often it ran and for how long, if that is counted.
fn each(probes: &Probes) -> impl Iterator<Item = (&'static str, &Status, Option<(u64, Duration)>)> {
    let counts = are_counted();
    probes.hooks.iter().map(move |(hook, status)| {
        let runs = counts.then(|| probes.runs(hook)).flatten();
        (hook.name, status, runs)
    })
}

/// Does the kernel count runs now? It does not unless it is told to, as that costs each of them.
fn are_counted() -> bool {
    let enabled = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
    enabled.is_ok_and(|text| text.trim() != "0")
}

/// One object a line.
pub(super) fn write(out: &mut impl Write, hooks: &[Hook]) -> io::Result<()> {
    hooks.iter().try_for_each(|hook| {
        serde_json::to_writer(&mut *out, hook)?;
        writeln!(out)
    })
}
