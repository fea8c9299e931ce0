//! `cargo xtask bench stacks`: what it costs the traced program that the stacks of its calls are kept.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::measure::median;
use crate::{
    release,
    util::{as_root, output, run, workspace},
};

/// Calls between the program's beginning and the one that makes a socket.
const DEPTHS: [usize; 2] = [5, 50];
const CALLS: [&str; 3] = ["socket() and close()", "connect()", "accept()"];
/// How the program is followed: see `socktrace/examples/stacks.rs`.
const MODES: [&str; 3] = ["none", "off", "on"];

/// Nanoseconds for each call.
type Costs = [f64; CALLS.len()];

/// Runs `calls` of each kind (connections a tenth of that) so often in turns in every mode.
pub(super) fn stacks(calls: usize, rounds: usize) -> Result<()> {
    release::build_these(&["--example", "stacks"])?;
    let release = workspace().join("target/release");
    let program = release.join("bench-calls");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-fno-omit-frame-pointer", "-o"])
        .arg(&program);
    run(compiler.arg(workspace().join("xtask/src/bench/calls.c")))?;
    for depth in DEPTHS {
        let mut costs: [Vec<Costs>; MODES.len()] = Default::default();
        for _ in 0..rounds {
            for (mode, costs) in MODES.into_iter().zip(&mut costs) {
                costs.push(measure(&release, &program, mode, depth, calls)?);
            }
        }
        print(depth, &costs);
    }
    Ok(())
}

fn measure(
    release: &Path,
    program: &Path,
    mode: &str,
    depth: usize,
    calls: usize,
) -> Result<Costs> {
    // In a namespace of its own: nobody else's connections, and all ports.
    let mut command = as_root("unshare")?;
    command.args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up && exec \"$@\"",
        "sh",
    ]);
    command
        .arg(release.join("examples/stacks"))
        .arg(mode)
        .arg(program);
    let text = output(command.args([depth.to_string(), calls.to_string()]))?;
    let words: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{text} is no result"))?;
    ensure!(words.len() == CALLS.len(), "{text} is no result");
    Ok([words[0], words[1], words[2]])
}

#[allow(clippy::print_stdout, reason = "that is the result")]
fn print(depth: usize, costs: &[Vec<Costs>; MODES.len()]) {
    println!("{depth} calls deep, median of {} rounds", costs[0].len());
    for (index, call) in CALLS.into_iter().enumerate() {
        let of = |mode: usize| median(costs[mode].iter().map(|costs| costs[index]).collect());
        // What was measured in one round belongs together.
        let pairs = costs[1].iter().zip(&costs[2]);
        let ratio = median(
            pairs
                .clone()
                .map(|(off, on)| on[index] / off[index])
                .collect(),
        );
        let more = median(pairs.map(|(off, on)| on[index] - off[index]).collect());
        println!(
            "  {call:<20} {:>6.0} ns untraced, {:>6.0} followed, {:>6.0} with stacks: \
             {more:>5.0} ns more, {ratio:.2} times",
            of(0),
            of(1),
            of(2),
        );
    }
}
