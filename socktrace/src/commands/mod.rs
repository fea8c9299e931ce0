//! One file for each command.

mod abilities;
mod child;
mod config;
mod daemon;
mod doctor;
mod drain;
mod ears;
mod elsewhere;
mod filter;
mod follow;
mod footprint;
mod generate;
mod kernel_log;
mod live;
mod look;
mod port_rows;
mod port_watch;
mod ports;
mod question;
mod record;
mod replay;
mod reports;
mod selection;
mod sighted;
mod snapshots;
mod sockets;
mod survey;
mod trace;
mod watch;

use std::{
    fmt::Display,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
};

use crate::{
    cli::{Cli, Color, Command, Output},
    descriptors,
    failure::{FAILURE, Failure},
    pipeline::Pipeline,
    sink::{Report, Style},
};

/// Runs a command; its status.
pub fn run(cli: &Cli) -> Result<u8, Failure> {
    if let Some(answer) = elsewhere::ask(cli) {
        return answer;
    }
    descriptors::raise();
    match &cli.command {
        Command::Trace(args) => trace::trace(args, cli.color),
        Command::Life(args) => trace::life(args, cli.color),
        Command::Record(args) => record::record(args),
        Command::Replay(args) => replay::replay(args, cli.color),
        Command::Sockets(args) => sockets::sockets(args),
        Command::Ports(args) => ports::ports(args),
        Command::Leaks(args) => reports::leaks(args, cli.color),
        Command::Limits(args) => reports::limits_near(args),
        Command::Daemon(args) => daemon::daemon(args),
        Command::Config { action } => config::config(action),
        Command::Doctor(args) => doctor::doctor(args, cli.color),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { directory } => generate::man(directory.as_deref()),
    }
}

fn style(output: &Output, report: Report, color: Color) -> Style {
    Style {
        format: output.format,
        report,
        fields: output.fields.clone(),
        times: output.times(),
        wide: output.wide,
        color: colored(color, io::stdout().is_terminal()),
    }
}

/// A message, on standard error.
#[allow(clippy::print_stderr, reason = "that is where it belongs")]
fn tell(message: impl Display) {
    eprintln!("socktrace: {message}");
}

/// A closed pipe ends quietly.
fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            FAILURE,
            format!("the output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Sums up, unless the output is closed: that ends quietly.
fn finish(outcome: io::Result<()>, pipeline: &Pipeline, status: u8) -> Result<u8, Failure> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(status),
        Err(error) => Err(Failure::new(
            FAILURE,
            format!("the output cannot be written: {error}"),
        )),
        Ok(()) => {
            pipeline.summary_text().lines().for_each(tell);
            Ok(status)
        }
    }
}

/// Rows are written a batch at a time.
fn stdout() -> BufWriter<Unbuffered> {
    BufWriter::with_capacity(1 << 16, Unbuffered(io::stdout()))
}

/// Standard output without a buffer of its own, which would look for the end of the last line in all
/// that it is given and keep what comes after it for another call.
struct Unbuffered(Stdout);

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn colored(color: Color, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}
