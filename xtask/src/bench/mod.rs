//! `cargo xtask bench`: figures, as ratios that are measured in one run.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures: a few digits of them are shown"
)]

mod connections;
mod crowd;
mod daemon;
mod drive;
mod events;
mod growth;
mod idle;
mod load;
mod measure;
mod paced;
mod programs;
mod report;
mod snapshot;
mod stacks;
mod subjects;
mod tool;

use anyhow::Result;
use clap::{Subcommand, ValueEnum as _};

use self::subjects::Subject;
pub(crate) use self::{
    crowd::crowd,
    drive::{Close, drive},
    idle::spin,
    load::hold,
    paced::pace,
};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// A connection's cost with a tool beside it, ours and others', over its cost with nothing attached
    Connections {
        /// How many to make in a run
        #[arg(long, default_value_t = 40_000)]
        connections: usize,
        /// Pairs of runs for each tool
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// How they end
        #[arg(long, value_enum, default_value_t = Close::Fin)]
        close: Close,
        /// Only these
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Subject>,
    },
    /// Decoding, table and tally, without a kernel
    Events {
        /// How many connections
        #[arg(long, default_value_t = 300_000)]
        connections: usize,
    },
    /// Write docs/benchmarks.md of what was measured last
    Report,
    /// What programs pay that use no sockets
    Idle {
        /// Pairs of runs for each tool
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// What the daemon takes: CPU, memory, scrapes, starts, and whether it stays so
    Daemon(daemon::Plan),
    /// Looks and scrapes as sockets get more, to a million
    Growth(growth::Plan),
    /// Listing what is open, beside ss and /proc/net/tcp
    Snapshot {
        /// How many sockets to open, in two network namespaces
        #[arg(long, default_value_t = 100_000)]
        sockets: usize,
        /// How often to measure each
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Calls that make sockets, without their stacks and with them
    Stacks {
        /// How many calls to make in a round
        #[arg(long, default_value_t = 100_000)]
        calls: usize,
        /// How often to measure each
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },
}

pub(crate) fn bench(what: &Bench) -> Result<()> {
    match what {
        Bench::Connections {
            connections,
            rounds,
            close,
            only,
        } => {
            let subjects = if only.is_empty() {
                Subject::value_variants()
            } else {
                only
            };
            connections::connections(&connections::Plan {
                connections: *connections,
                rounds: *rounds,
                close: *close,
                subjects,
            })
        }
        Bench::Events { connections } => report::keep("events", &events::events(*connections)?),
        Bench::Report => report::report(),
        Bench::Idle { rounds } => report::keep("idle", &idle::idle(*rounds)?),
        Bench::Daemon(plan) => daemon::daemon(plan),
        Bench::Growth(plan) => growth::growth(plan),
        &Bench::Snapshot { sockets, rounds } => snapshot::snapshot(sockets, rounds),
        &Bench::Stacks { calls, rounds } => stacks::stacks(calls, rounds),
    }
}
