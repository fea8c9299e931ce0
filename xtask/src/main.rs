//! `cargo xtask`: everything that a developer of socktrace does more than once.
//!
//! Each command has a file of its own, and that file says how it is done.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "a developer's tool tells its progress where cargo does"
)]

mod util;

mod compiler;
mod linker;
mod looked;
mod toolchain;

mod packages;
mod record;
mod sources;

mod install;
mod release;

mod bench;
mod beside;
mod bpf;
mod btf;
mod dependencies;
mod dist;
mod docs;
mod fuzz;
mod package_test;
mod run;
mod sbom;
mod stack;
mod test;
mod vm;

mod ci;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The tasks of socktrace's developers
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build socktrace and run it as root, through sudo where needed: `cargo xtask run -- trace`
    Run {
        /// Handed to socktrace as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run all tests, those that need root and a kernel too
    Test {
        /// Install what the tests need first
        #[arg(long)]
        install: bool,
        /// Handed to `cargo nextest run`: a part of a test's name, or any of its options
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Everything that must hold before a change goes in
    Ci {
        /// Install what the steps need first
        #[arg(long)]
        install: bool,
        /// Only this step
        #[arg(long, value_name = "STEP")]
        only: Option<String>,
    },
    /// Compile the kernel side into the object that is kept in the tree
    Bpf {
        /// Only say whether the tree's object is what the sources give
        #[arg(long)]
        check: bool,
        /// Install the compiler and the linker first
        #[arg(long)]
        install: bool,
    },
    /// Install what the other commands need, and list it
    Install,
    /// Make the packages (.deb and .rpm)
    Dist {
        /// Only build the program twice, in two places, and say whether it is the same
        #[arg(long)]
        check: bool,
    },
    /// Install the package for Debian in a container, use it, upgrade and remove it; as root
    PackageTest {
        /// This package; without one it is made, of a debug build
        #[arg(long)]
        deb: Option<PathBuf>,
        /// Where the container's Debian is, or is made; without it in target/package-test
        #[arg(long)]
        root: Option<PathBuf>,
        /// Install what it needs first
        #[arg(long)]
        install: bool,
    },
    /// Write the pages of docs/ that come from the code
    Docs,
    /// Give hostile bytes to what reads bytes of others, with cargo-fuzz
    Fuzz {
        /// How long, for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this one
        target: Option<String>,
    },
    /// Write what the program is made of, as `CycloneDX`
    Sbom,
    /// Measure, in one run, ourselves and what others take
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Try Debian's kernels, from the oldest to the newest, each in an emulated machine
    Vm(vm::Options),
    /// What `bench` fills a namespace with
    #[command(hide = true)]
    Hold {
        connections: usize,
        close_wait: usize,
    },
    /// The calls that `bench` measures
    #[command(hide = true)]
    Spin,
    /// Owners that `bench` counts
    #[command(hide = true)]
    Crowd { name: String },
    /// Connections at a steady pace
    #[command(hide = true)]
    Pace { rate: u32, seconds: u64 },
    /// The connections that `bench` measures
    #[command(hide = true)]
    Drive {
        connections: usize,
        #[arg(value_enum)]
        close: bench::Close,
    },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run { args } => run::run(&args),
        Command::Test { install, args } => test::test(install, &args),
        Command::Ci { install, only } => ci::ci(install, only.as_deref()),
        Command::Bpf { check, install } => bpf::bpf(check, install),
        Command::Dist { check: true } => release::check(),
        Command::Dist { check: false } => dist::dist(),
        Command::PackageTest { deb, root, install } => {
            package_test::package_test(deb, root, install)
        }
        Command::Docs => docs::docs(),
        Command::Fuzz { seconds, target } => fuzz::fuzz(seconds, target.as_deref()),
        Command::Install => install::everything(),
        Command::Sbom => sbom::sbom(),
        Command::Vm(options) => vm::vm(&options),
        Command::Bench { what } => bench::bench(&what),
        Command::Hold {
            connections,
            close_wait,
        } => bench::hold(connections, close_wait),
        Command::Spin => bench::spin(),
        Command::Crowd { name } => bench::crowd(&name),
        Command::Pace { rate, seconds } => bench::pace(rate, seconds),
        Command::Drive { connections, close } => bench::drive(connections, close),
    }
}
