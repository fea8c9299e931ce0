//! What a command that runs for long says of itself.

use clap::{Args, ValueEnum};

/// What is logged, and how. It goes to standard error.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// Log what is at least this grave
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, default_value_t)]
    pub level: LogLevel,
    /// Format of the log; without it, fields of the journal under systemd, and logfmt elsewhere
    #[arg(long = "log.format", value_name = "FORMAT", value_enum)]
    pub format: Option<LogFormat>,
}

/// How grave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Also what only a developer wants to know
    Debug,
    /// What happens
    #[default]
    Info,
    /// What costs something
    Warn,
    /// What does not work
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// key=value
    Logfmt,
    /// One object a line
    Json,
}
