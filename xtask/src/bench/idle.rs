//! `cargo xtask bench idle`: what programs pay that use no sockets.

use std::{
    fs::File,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::getppid;
use serde::{Deserialize, Serialize};

use super::{
    connections::Space,
    measure::{Spread, median},
    subjects::Subject,
    tool::Tool,
};
use crate::util::output;

/// Nanoseconds a turn.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Turn {
    /// `getppid()`: a system call that does nothing.
    call: f64,
    /// Opening and closing a file.
    file: f64,
}

/// What runs as a process of its own, and prints what a turn took.
pub(crate) fn spin() -> Result<()> {
    let each = |turns: u32, mut turn: Box<dyn FnMut()>| {
        // The best of several: whatever disturbs makes it longer.
        let times = (0..12).map(|_| {
            let began = Instant::now();
            (0..turns).for_each(|_| turn());
            nanos(began.elapsed()) / f64::from(turns)
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let turn = Turn {
        call: each(
            200_000,
            Box::new(|| {
                black_box(getppid());
            }),
        ),
        file: each(30_000, Box::new(|| drop(File::open("/dev/null")))),
    };
    #[allow(clippy::print_stdout, reason = "that is its result")]
    {
        println!("{}", serde_json::to_string(&turn)?);
    }
    Ok(())
}

/// How much longer a turn is beside the tool, nanoseconds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) subject: &'static str,
    pub(super) call_alone: f64,
    pub(super) call_more: Spread,
    pub(super) file_alone: f64,
    pub(super) file_more: Spread,
}

const SUBJECTS: [Subject; 5] = [
    Subject::Nothing,
    Subject::EmptyExit,
    Subject::Daemon,
    Subject::DaemonLean,
    Subject::Tcplife,
];

pub(super) fn idle(rounds: usize) -> Result<Vec<Row>> {
    let space = Space::new()?;
    let mut rows = Vec::new();
    for subject in SUBJECTS {
        if subject.missing().is_some() {
            continue;
        }
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            let alone = turn()?;
            let command = subject.command(&space.netns(), &space.folder)?;
            let start = |command: &Command| {
                Tool::start(subject.name(), command, &space.folder, subject.says())
            };
            let tool = command.as_ref().map(start).transpose()?;
            pairs.push((alone, turn()?));
            if let Some(mut tool) = tool {
                tool.stop()?;
            }
        }
        let of = |figure: fn(&(Turn, Turn)) -> f64| pairs.iter().map(figure).collect::<Vec<_>>();
        let row = Row {
            subject: subject.name(),
            call_alone: median(of(|(alone, _)| alone.call)),
            call_more: Spread::of(of(|(alone, beside)| beside.call - alone.call)),
            file_alone: median(of(|(alone, _)| alone.file)),
            file_more: Spread::of(of(|(alone, beside)| beside.file - alone.file)),
        };
        print(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn turn() -> Result<Turn> {
    let own = std::env::current_exe()?;
    let text = output(Command::new(own).arg("spin"))?;
    serde_json::from_str(&text).with_context(|| format!("{text} is no result"))
}

#[allow(clippy::print_stdout, reason = "that is the result")]
fn print(row: &Row) {
    println!(
        "{:<26} getppid() {:.0} ns, {:+.0} ({:+.0} to {:+.0}) · open and close {:.0} ns, {:+.0} \
         ({:+.0} to {:+.0})",
        row.subject,
        row.call_alone,
        row.call_more.median,
        row.call_more.quarter,
        row.call_more.three_quarters,
        row.file_alone,
        row.file_more.median,
        row.file_more.quarter,
        row.file_more.three_quarters,
    );
}

#[allow(clippy::cast_precision_loss, reason = "seconds")]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}
