//! The command line. The comments are the help.

#![allow(missing_docs, reason = "a flattened group has its help in its members")]

mod daemon;
mod log;
mod ports;
pub mod protocol;
mod reports;
mod sockets;
mod web;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use socktrace_common::socket::TcpState;

pub use self::{
    daemon::{Answer, Config, Daemon, SOCKET},
    log::{Log, LogFormat, LogLevel},
    ports::{Ports, PortsFormat},
    reports::{FailOn, Leaks, Limits, Watch},
    sockets::{Sockets, SocketsFormat},
    web::{LISTEN, Web},
};
use crate::{
    change::{Kind, state_word},
    field::Field,
    probe::{AttachMode, plan::Hooks},
    select::Condition,
    sink::{Format, Times},
    table::MOST_SOCKETS,
};

/// Follows every socket on a Linux machine from birth to death with eBPF
///
/// Rows go to standard output; messages and the summary go to standard error.
#[derive(Debug, Parser)]
#[command(name = "socktrace", version, max_term_width = 100)]
pub struct Cli {
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what happens to sockets, as it happens
    Trace(Trace),
    /// Show one line for each ended connection
    Life(Life),
    /// Keep what happens in a file
    Record(Record),
    /// Show what was kept in a file; needs no privileges
    Replay(Replay),
    /// List what is open now: every socket of every network namespace, with all its holders
    Sockets(Sockets),
    /// Say which ephemeral ports are left, for how long, and who has the others
    Ports(Ports),
    /// Say who leaks sockets, since when, and what else is wrong
    Leaks(Leaks),
    /// List every limit that applies, the nearest first
    Limits(Limits),
    /// Watch for as long as the machine runs: for Prometheus, and to answer the other commands
    Daemon(Daemon),
    /// Check a configuration file, or show what it says in full
    Config {
        /// What to do
        #[command(subcommand)]
        action: Config,
    },
    /// Say what this kernel and these privileges allow
    Doctor(Doctor),
    /// Write a completion script for a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a directory, or the main one to standard output
    Man {
        /// The directory
        directory: Option<PathBuf>,
    },
}

/// `trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  socktrace trace -p 1234               what process 1234 and its children do
  socktrace trace -D 443 --event connect --filter 'error!=null'
                                        connects to port 443 that fail
  socktrace trace -o json -- curl -s http://localhost/
                                        a command, from its first socket to its last")]
pub struct Trace {
    #[command(flatten)]
    pub live: Live,
    #[command(flatten)]
    pub select: Selection,
    /// Only these kinds of row
    #[arg(long = "event", value_name = "KIND", value_delimiter = ',', help_heading = FILTERS)]
    pub events: Vec<Kind>,
    /// Only transitions into these TCP states (`close_wait`, `syn_sent`, …)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = state, help_heading = FILTERS)]
    pub states: Vec<TcpState>,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub run: Run,
}

/// `life`.
#[derive(Debug, Args)]
pub struct Life {
    #[command(flatten)]
    pub live: Live,
    #[command(flatten)]
    pub select: Selection,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub run: Run,
}

/// `record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The file; overwritten if it is there
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub live: Live,
    #[command(flatten)]
    pub select: KernelSelection,
    #[command(flatten)]
    pub run: Run,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show ended connections, as `life` does
    #[arg(long, conflicts_with_all = ["events", "states"])]
    pub life: bool,
    #[command(flatten)]
    pub select: Selection,
    /// Only these kinds of row
    #[arg(long = "event", value_name = "KIND", value_delimiter = ',', help_heading = FILTERS)]
    pub events: Vec<Kind>,
    /// Only transitions into these TCP states (`close_wait`, `syn_sent`, …)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = state, help_heading = FILTERS)]
    pub states: Vec<TcpState>,
    #[command(flatten)]
    pub output: Output,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only what is not OK
    #[arg(long)]
    pub quiet: bool,
    /// How to write it
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: DoctorFormat,
}

/// How `doctor` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// Lines for people
    #[default]
    Table,
    /// One object a line
    Json,
}

const FILTERS: &str = "Filters";
const OUTPUT: &str = "Output";

/// Filters that the kernel side knows.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = FILTERS)]
pub struct KernelSelection {
    /// Only this process and its future children; may be repeated
    #[arg(short = 'p', long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Only these local ports
    #[arg(
        short = 'L',
        long = "local-port",
        value_name = "PORT",
        value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub local_ports: Vec<u16>,
    /// Only these remote ports
    #[arg(
        short = 'D',
        long = "remote-port",
        value_name = "PORT",
        value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub remote_ports: Vec<u16>,
    /// Only IPv4, IPv4-mapped IPv6 included
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Only these protocols, or all. Without it: of `life` tcp, of a recording all, else what runs
    /// over IPv4 and IPv6 (tcp, udp, udplite, mptcp, raw)
    #[arg(
        long = "proto",
        value_name = "PROTO",
        value_delimiter = ',',
        value_parser = protocol::parser()
    )]
    pub protocols: Vec<protocol::Choice>,
}

/// All filters.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = FILTERS)]
pub struct Selection {
    #[command(flatten)]
    pub kernel: KernelSelection,
    /// Only sockets of processes with this name
    #[arg(long = "comm", value_name = "NAME", value_delimiter = ',')]
    pub comms: Vec<String>,
    /// Only sockets of this container (the beginning of its identifier)
    #[arg(long = "container", value_name = "ID", value_delimiter = ',')]
    pub containers: Vec<String>,
    /// Only this network namespace: its inode number, its name (`ip netns`) or a path
    #[arg(long = "netns", value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    /// Only rows for which this holds: a field, one of == != >= > <= < ~ (a regular expression), a
    /// value; may be repeated
    #[arg(long = "filter", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
}

/// How rows look.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = OUTPUT)]
pub struct Output {
    /// Format of the rows
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,
    /// Only these fields, in this order
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub fields: Option<Vec<Field>>,
    /// Begin lines with the wall-clock time
    #[arg(short = 'T', long = "time", conflicts_with = "elapsed")]
    pub time: bool,
    /// Begin lines with the seconds since the start
    #[arg(short = 't', long = "elapsed")]
    pub elapsed: bool,
    /// Make room for IPv6 addresses
    #[arg(short = 'w', long = "wide")]
    pub wide: bool,
    /// Stop after this many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

impl Output {
    /// How tables show times.
    pub fn times(&self) -> Times {
        match (self.time, self.elapsed) {
            (true, _) => Times::Clock,
            (_, true) => Times::Elapsed,
            _ => Times::None,
        }
    }
}

/// How to listen to the kernel.
#[derive(Debug, Args)]
pub struct Live {
    /// Stop after this time (30s, 5m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Size of the ring buffer between kernel and user space, in KiB; a power of two
    #[arg(long, value_name = "KIB", default_value_t = 8192, value_parser = ring_size)]
    pub ring_size: u32,
    /// How often to compare what was told with what is there (0s: never; after a loss it is done
    /// soon, and it takes at most 2% of one CPU)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub reconcile: Duration,
    /// Keep track of at most this many sockets; about 250 bytes each
    #[arg(long, value_name = "N", default_value_t = MOST_SOCKETS)]
    pub max_sockets: usize,
    /// How much of the kernel is hooked
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub hooks: Hooks,
    /// Which attach points may be used
    #[arg(long, value_name = "MODE", value_enum, default_value_t, hide = true)]
    pub attach: AttachMode,
    /// Show what the kernel side logs
    #[arg(long, hide = true)]
    pub kernel_log: bool,
}

/// A command to follow.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Run this command, follow it and its children, and exit with its status; it goes on if
    /// socktrace ends first
    #[arg(last = true, value_name = "CMD", action = ArgAction::Append, conflicts_with = "pids")]
    pub command: Vec<OsString>,
}

fn state(name: &str) -> Result<TcpState, String> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    TcpState::ALL
        .into_iter()
        .find(|state| state_word(*state) == wanted)
        .ok_or_else(|| {
            let names = TcpState::ALL.map(state_word).join(", ");
            format!("there are {names}")
        })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "a time is a number with a unit, like 30s, 5m or 1h30m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "a time cannot be negative".to_owned())
}

/// The kernel takes a power of two of pages.
fn ring_size(text: &str) -> Result<u32, String> {
    let kib: u32 = text.parse().map_err(|_| "not a number of KiB".to_owned())?;
    if kib.is_power_of_two() && (4..=1 << 20).contains(&kib) {
        Ok(kib)
    } else {
        Err("a power of two from 4 to 1048576".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn states_are_spelled_as_anybody_spells_them() {
        assert_eq!(state("close_wait"), Ok(TcpState::CloseWait));
        assert_eq!(state("CLOSE-WAIT"), Ok(TcpState::CloseWait));
        assert!(state("closed").unwrap_err().contains("close_wait"));
    }

    #[test]
    fn a_ring_is_a_power_of_two() {
        assert_eq!(ring_size("8192"), Ok(8192));
        assert!(ring_size("5000").is_err());
        assert!(ring_size("2").is_err());
    }
}
