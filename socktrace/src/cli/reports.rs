//! The command lines of the reports: `leaks` and `limits`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{Answer, duration};
use crate::detect::Severity;

/// `leaks`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  socktrace leaks                             watch for a while, and say who leaks
  socktrace leaks --duration 20m -p 1234      long enough to tell a leak from a burst
  socktrace leaks --stacks -p 1234            where it opens what it does not close
  socktrace leaks -o json --fail-on confirmed for scripts: status 3 if there is one
  socktrace leaks --follow                    each finding as it begins, changes and ends
  socktrace leaks --follow --config.file alerts.toml
                                              and to the outputs of its section [alerts]

What is found within seconds is what was there already. That something only accumulates takes time
to see: growth is told after a quarter of an hour, slow growth after an hour.")]
pub struct Leaks {
    #[command(flatten)]
    pub watch: Watch,
    /// Go on until Ctrl-C (or --duration), say what begins, changes and ends, and send alerts to the
    /// outputs of the configuration (docs/alerts.md)
    #[arg(long)]
    pub follow: bool,
    /// Say where in their programs the sockets were opened, while it watches (docs/stacks.md)
    #[arg(long, conflicts_with = "follow")]
    pub stacks: bool,
    /// Keep no more different stacks than this: a kilobyte of the kernel's memory each
    #[arg(long, value_name = "N", default_value_t = 8192, requires = "stacks",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_stacks: u32,
}

impl Leaks {
    /// How many stacks to keep.
    pub fn stacks(&self) -> u32 {
        if self.stacks { self.max_stacks } else { 0 }
    }
}

/// `limits`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  socktrace limits                       every limit that applies, the nearest first
  socktrace limits -o json --fail-on critical")]
pub struct Limits {
    #[command(flatten)]
    pub watch: Watch,
    /// No more rows than this
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub count: usize,
}

/// What reports have in common.
#[derive(Debug, Args)]
pub struct Watch {
    /// Watch for so long (30s, 5m, 1h30m); 15s unless told otherwise
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Only what this process does; may be repeated
    #[arg(short = 'p', long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Only this network namespace: its inode number, its name (`ip netns`) or a path
    #[arg(long = "netns", value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    #[command(flatten)]
    pub answer: Answer,
    /// End with status 3 if something is at least this bad
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub fail_on: Option<FailOn>,
    /// Thresholds, in TOML (docs/findings.md)
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Format
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: super::SocketsFormat,
}

impl Watch {
    /// How long to watch.
    pub fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(15))
    }
}

/// How bad something must be to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Growth, or worse
    Suspect,
    /// Direct evidence, or a limit that is near
    Confirmed,
    /// A limit that is near, or direct evidence
    Warning,
    /// A limit that is reached, or will be soon
    Critical,
}

impl FailOn {
    /// Is this bad enough?
    pub fn is_met(self, severity: Severity) -> bool {
        severity.is_at_least(match self {
            Self::Suspect => Severity::Suspect,
            Self::Confirmed => Severity::Confirmed,
            Self::Warning => Severity::Warning,
            Self::Critical => Severity::Critical,
        })
    }
}
