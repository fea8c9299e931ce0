//! The command line of `daemon`, and where the other commands find it.

use std::path::PathBuf;

use clap::Args;

use super::{Log, Web};
use crate::probe::plan::Hooks;

/// Where a daemon answers unless told otherwise: below the directory that systemd makes for it.
pub const SOCKET: &str = "/run/socktrace/socktrace.sock";

/// `daemon`.
#[derive(Debug, Args)]
#[command(after_help = "\
It runs until it is stopped (SIGTERM, SIGINT). SIGHUP reads the configuration again; a file that makes
no sense is told of, and the old one stays.")]
pub struct Daemon {
    /// Thresholds, labels and bounds, in TOML (docs/daemon.md)
    #[arg(long = "config.file", value_name = "FILE")]
    pub configuration: Option<PathBuf>,
    #[command(flatten)]
    pub web: Web,
    #[command(flatten)]
    pub log: Log,
    /// How much of the kernel is hooked
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub hooks: Hooks,
    /// The Unix socket on which it answers the other commands
    #[arg(long, value_name = "PATH", default_value = SOCKET, env = "SOCKTRACE_SOCKET")]
    pub socket: PathBuf,
    /// The group that may use it, besides root
    #[arg(long, value_name = "GROUP", default_value = "socktrace")]
    pub socket_group: String,
    /// Where it keeps what it must not forget when it starts again: since when sockets are as they
    /// are. Without one, that is forgotten
    #[arg(
        long = "state.directory",
        value_name = "DIRECTORY",
        env = "STATE_DIRECTORY"
    )]
    pub state_directory: Option<PathBuf>,
}

/// Who answers.
#[derive(Debug, Args)]
pub struct Answer {
    /// Look by itself, even if a daemon runs: that one knows more, as it has looked for longer
    #[arg(long)]
    pub standalone: bool,
    /// The Unix socket of the daemon
    #[arg(long, value_name = "PATH", default_value = SOCKET, env = "SOCKTRACE_SOCKET")]
    pub socket: PathBuf,
}

/// `config`.
#[derive(Debug, clap::Subcommand)]
pub enum Config {
    /// Say whether a configuration file makes sense
    Check {
        /// The file
        file: PathBuf,
    },
    /// Write a configuration in full to standard output: what a file says, and the defaults
    Show {
        /// The file; without one the defaults
        file: Option<PathBuf>,
    },
}
