//! The command line of `ports`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Answer, FailOn, duration};

/// `ports`.
#[derive(Debug, Args)]
#[command(after_help = "\
A row is a source and a destination, for each of which all eligible ports can be used once. A port
that somebody listens on or bound is blocked for every connect(), whatever the addresses.

Examples:
  socktrace ports                            what runs out, when, and who has it
  socktrace ports --duration 0s --netns blue one look at one network namespace
  socktrace ports --fail-on warning          for scripts: exits with 3 if it is bad")]
pub struct Ports {
    /// Watch for this long, to say how fast ports go (0s: one look, which cannot say)
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub duration: Duration,
    /// Only rows of which this process has ports; may be repeated
    #[arg(short = 'p', long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Only these remote ports
    #[arg(short = 'D', long = "remote-port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub remote_ports: Vec<u16>,
    /// Only IPv4, IPv4-mapped IPv6 included
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Only this network namespace: its inode number, its name (`ip netns`) or a path
    #[arg(long = "netns", value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    #[command(flatten)]
    pub answer: Answer,
    /// Only so many rows, the worst (0: all); tables show 20
    #[arg(short = 'n', long, value_name = "N")]
    pub top: Option<usize>,
    /// Make room for IPv6 addresses
    #[arg(short = 'w', long)]
    pub wide: bool,
    /// Format of the rows
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: PortsFormat,
    /// End with status 3 if a row is at least this bad: 80% used is a warning, 95% critical, and so
    /// is, from half used on, that nothing will be left within 15 minutes or one
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub fail_on: Option<FailOn>,
}

/// How `ports` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum PortsFormat {
    /// Columns for people, and who blocks ports
    #[default]
    Table,
    /// One object a line
    Json,
    /// Objects over several lines
    JsonPretty,
}
