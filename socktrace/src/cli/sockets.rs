//! The command line of `sockets`: ss's letters where it has them.

use clap::{Args, ValueEnum};

use super::{Answer, protocol};
use crate::{endpoint::Protocol, sink::sockets::Key};

/// `sockets`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  socktrace sockets -t state close-wait      connections that a program does not close
  socktrace sockets -tl                      who listens where, with every process that could accept
  socktrace sockets -p 1234 dport = :5432    what process 1234 has open towards a database
  socktrace sockets --proto pipe -p 1234     the pipes of process 1234, and who has their other ends")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that users of ss know"
)]
pub struct Sockets {
    /// Only TCP
    #[arg(short = 't', long)]
    pub tcp: bool,
    /// Only UDP
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// Only Unix sockets
    #[arg(short = 'x', long)]
    pub unix: bool,
    /// Only listeners
    #[arg(short = 'l', long)]
    pub listening: bool,
    /// Only what this process holds; may be repeated
    #[arg(short = 'p', long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Only these local ports
    #[arg(short = 'L', long = "local-port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub local_ports: Vec<u16>,
    /// Only these remote ports
    #[arg(short = 'D', long = "remote-port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub remote_ports: Vec<u16>,
    /// Only IPv4, IPv4-mapped IPv6 included
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Only what a process with this name holds
    #[arg(long = "comm", value_name = "NAME", value_delimiter = ',')]
    pub comms: Vec<String>,
    /// Only sockets of this container (the beginning of its identifier)
    #[arg(long = "container", value_name = "ID", value_delimiter = ',')]
    pub containers: Vec<String>,
    /// Only this network namespace: its inode number, its name (`ip netns`) or a path
    #[arg(long = "netns", value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    #[command(flatten)]
    pub answer: Answer,
    /// Only these protocols; anonymous pipes are listed only where they are among them
    #[arg(
        long = "proto",
        value_name = "PROTO",
        value_delimiter = ',',
        value_parser = protocol::listed()
    )]
    pub protos: Vec<Protocol>,
    /// Only these states, or ss's groups of them (connected, synchronized, bucket, big)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = crate::inventory::state_name)]
    pub states: Vec<String>,
    /// Make room for IPv6 addresses and long paths
    #[arg(short = 'w', long)]
    pub wide: bool,
    /// Format of the rows
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: SocketsFormat,
    /// Only these fields, in this order; for JSON
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub fields: Option<Vec<Key>>,
    /// As in ss: state STATE, sport = :PORT, dport = :PORT, src ADDRESS, dst ADDRESS
    #[arg(value_name = "FILTER")]
    pub expression: Vec<String>,
}

/// How `sockets` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum SocketsFormat {
    /// Columns for people
    #[default]
    Table,
    /// One object a line
    Json,
    /// Objects over several lines
    JsonPretty,
}
