//! `cargo xtask bench`: figures, as ratios that are measured in one run.

mod load;
mod measure;
mod snapshot;
mod stacks;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use self::load::hold;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
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
    match *what {
        Bench::Snapshot { sockets, rounds } => snapshot::snapshot(sockets, rounds),
        Bench::Stacks { calls, rounds } => stacks::stacks(calls, rounds),
    }
}
