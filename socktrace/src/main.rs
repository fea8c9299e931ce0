//! socktrace: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use socktrace::{cli::Cli, commands};

#[expect(clippy::print_stderr, reason = "that is where messages belong")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("socktrace: {failure}");
            ExitCode::from(failure.status)
        }
    }
}
