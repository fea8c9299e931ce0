//! `cargo xtask vm`: Debian's kernels, each in an emulated machine, with `socktrace doctor` and the tests
//! that state facts. Needs neither root nor KVM, and takes its time.
//!
//! What was fetched and made stays in target/vm.

mod apt;
mod archive;
mod guest;
mod kernel;
mod machine;
mod modules;
mod outcome;
mod page;
mod suites;

use std::{
    fs,
    num::NonZero,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use self::{
    guest::Programs,
    kernel::Kernel,
    machine::Machine,
    outcome::{Outcome, Verdict},
    suites::{SUITES, Wanted},
};
use crate::{
    install,
    util::{find, target_dir, workspace},
};

/// What `vm` is asked for.
#[derive(clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    /// A suite of Debian (`bookworm-security`), a series (`6.1`), a suite and a release, or a release that was fetched before; may be given more than once
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// The kernel of each release of Debian that can be had
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// The oldest and the newest of them, at once, and few tests: what `ci` does
    #[arg(long, conflicts_with_all = ["kernels", "all", "write"])]
    edges: bool,
    /// Name the suites and the kernels that were fetched
    #[arg(long)]
    list: bool,
    /// Write what came of it into docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Install what it needs first
    #[arg(long)]
    install: bool,
    /// Only tests with one of these in their names, of all kernel tests
    #[arg(last = true)]
    tests: Vec<String>,
}

/// For one kernel with all tests, before the machine is taken to hang.
const LIMIT: Duration = Duration::from_hours(2);

impl Options {
    /// What `ci` asks for.
    pub(crate) fn edges() -> Self {
        Self {
            kernels: Vec::new(),
            all: false,
            edges: true,
            list: false,
            write: false,
            install: false,
            tests: Vec::new(),
        }
    }
}

pub(crate) fn vm(options: &Options) -> Result<()> {
    if options.install {
        install::for_vm()?;
    }
    let vm = target_dir().join("vm");
    fs::create_dir_all(&vm)?;
    if options.list {
        list(&vm);
        return Ok(());
    }
    let missing = install::missing_for_vm(|it| find(it).is_some());
    if !missing.is_empty() {
        bail!(
            "the machines need {}: `cargo xtask vm --install` installs it, on Debian",
            missing.join(", ")
        );
    }
    let wanted = if options.all {
        Wanted::all()
    } else if options.edges {
        Wanted::edges()
    } else if options.kernels.is_empty() {
        bail!("which kernel? `--kernel 6.1`, `--edges` or `--all`; `--list` names them");
    } else {
        let is_here = |release: &str| Kernel::is_here(release, &vm);
        let parsed = options.kernels.iter().map(|it| Wanted::parse(it, is_here));
        parsed.collect::<Result<_>>()?
    };
    let programs = Programs::build()?;
    let tests = match &options.tests[..] {
        [] if options.edges => guest::FEW.map(str::to_owned).into(),
        filter => programs.tests(filter)?,
    };
    // Each takes one processor.
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let mut told = Vec::new();
    archive::debian(&vm)?;
    for some in wanted.chunks(at_once) {
        let kernels = some.iter().map(|wanted| Kernel::get(wanted, &vm));
        let kernels: Vec<_> = kernels.collect::<Result<_>>()?;
        let outcomes = thread::scope(|scope| {
            let (programs, tests, vm) = (&programs, &tests, &vm);
            let begin = |kernel| scope.spawn(move || try_on(kernel, programs, tests, vm));
            let running: Vec<_> = kernels.iter().map(begin).collect();
            let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
            let ended =
                ended.map(|it| it.map_err(|_| anyhow!("one that looked after it has failed"))?);
            ended.collect::<Result<Vec<_>>>()
        })?;
        told.extend(kernels.into_iter().map(|it| it.release).zip(outcomes));
        // What becomes of the next one is no reason to lose these.
        if options.write {
            fs::write(workspace().join("docs/kernels.md"), page::page(&told)?)?;
            eprintln!("docs/kernels.md is written");
        }
    }
    let failed = |(_, it): &&(String, Outcome)| {
        it.count(Verdict::Failed) + it.count(Verdict::TimedOut) > 0
            || it.doctor.is_empty()
            || it.is_refused()
    };
    let failed: Vec<_> = told.iter().filter(failed).map(|it| it.0.as_str()).collect();
    if !failed.is_empty() {
        bail!(
            "tests failed, or hooks were refused, on {}",
            failed.join(", ")
        );
    }
    Ok(())
}

fn list(vm: &Path) {
    for suite in SUITES {
        eprintln!("{:<12} {}", suite.series, suite.name);
    }
    for release in kernel::fetched(vm) {
        eprintln!("{:<12} {release}", "fetched");
    }
}

/// Boots the kernel and says what came of it.
fn try_on(kernel: &Kernel, programs: &Programs, tests: &[String], vm: &Path) -> Result<Outcome> {
    let folder = vm.join("run").join(&kernel.release);
    fs::create_dir_all(&folder)?;
    let (debian, initrd) = (archive::debian(vm)?, folder.join("initrd"));
    let ours = programs.pack(kernel, tests, &folder)?;
    archive::join(&[&debian, &ours], &initrd)?;
    eprintln!("\nLinux {}: {} tests", kernel.release, tests.len());
    let start = Instant::now();
    let done = machine::boot(&Machine {
        kernel,
        initrd: &initrd,
        memory: guest::memory_for(tests),
        folder: &folder,
        limit: LIMIT,
    })?;
    let outcome = Outcome::read(&done.output);
    for (check, line) in &outcome.doctor {
        if line.status != "ok" {
            eprintln!("  {:<5} {check}: {}", line.status, line.message);
        }
    }
    for (name, verdict, said) in &outcome.tests {
        if *verdict != Verdict::Passed {
            eprintln!("  {verdict:?} {name}\n{}", indented(said));
        }
    }
    let counts = Verdict::ALL.map(|it| format!("{} {}", outcome.count(it), it.word()));
    eprintln!(
        "Linux {}: {}; status {}, {:.0} s of {:.0} s up",
        kernel.release,
        counts.join(", "),
        done.status,
        start.elapsed().as_secs_f64(),
        done.uptime.as_secs_f64()
    );
    Ok(outcome)
}

fn indented(text: &str) -> String {
    text.lines()
        .fold(String::new(), |shown, line| shown + "    | " + line + "\n")
}
