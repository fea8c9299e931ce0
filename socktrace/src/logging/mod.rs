//! The log of a command that runs for long, on standard error: as fields of systemd's journal where
//! standard error leads there, else one line each. Rooms say what they have to say with `tracing`.

mod lines;
mod repeats;

use std::{env, io, os::fd::AsFd};

use rustix::fs::fstat;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _,
};

use self::{lines::Lines, repeats::Repeats};
use crate::{
    cli::{Log, LogFormat, LogLevel},
    failure::{FAILURE, Failure},
};

/// Sets the log up, for the rest of the process. To be called once.
pub fn start(log: &Log) -> Result<(), Failure> {
    let level = tracing::Level::from(log.level);
    // Of the libraries only what is wrong, unless it is their turn.
    let others = level.min(tracing::Level::WARN);
    let wanted = Targets::new()
        .with_default(others)
        .with_target("socktrace", level);
    let journal = match log.format {
        None if leads_to_the_journal(io::stderr()) => tracing_journald::layer().ok(),
        _ => None,
    };
    let output = match journal {
        Some(journal) => journal
            .with_syslog_identifier("socktrace".to_owned())
            .with_field_prefix(Some("SOCKTRACE".to_owned()))
            .boxed(),
        None => Lines::new(log.format.unwrap_or(LogFormat::Logfmt), io::stderr).boxed(),
    };
    registry()
        .with(wanted)
        .with(Repeats::default())
        .with(output)
        .try_init()
        .map_err(|error| Failure::new(FAILURE, format!("the log cannot be set up: {error}")))
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}

/// Is this the stream to the journal that systemd tells of (`JOURNAL_STREAM`, systemd.exec(5))?
fn leads_to_the_journal(stream: impl AsFd) -> bool {
    let told = env::var("JOURNAL_STREAM").ok();
    let own = fstat(stream).ok();
    own.is_some_and(|own| told == Some(format!("{}:{}", own.st_dev, own.st_ino)))
}
