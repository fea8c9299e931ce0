//! `cargo xtask ci`: everything that must hold before a change goes in.
//!
//! The names are those that a failure is reported under. What only needs a compiler, and the emulated
//! machines, runs beside the tests.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    beside::{self, KERNELS},
    bpf, install,
    record::Record,
    test,
    toolchain::Toolchain,
    util::{cargo, find, run},
    vm,
};

type Step = (&'static str, fn() -> Result<()>);

/// One after the other; the tests last.
const STEPS: [Step; 3] = [
    ("fmt", fmt),
    ("deny", deny),
    ("test", || test::test(false, &[])),
];

/// What runs while the tests do.
const BESIDE: [Step; 5] = [
    ("bpf --check", || bpf::bpf(true, false)),
    ("clippy", clippy),
    ("clippy-bpf", clippy_bpf),
    ("docs", docs),
    // Last, as it says least of a change.
    (KERNELS, || vm::vm(&vm::Options::edges())),
];

/// Every step, or the one that is named.
pub(crate) fn ci(install: bool, only: Option<&str>) -> Result<()> {
    if let Some(name) = only {
        return one(name);
    }
    let mut table = Table {
        start: Instant::now(),
        rows: Vec::new(),
    };
    let result = all(&mut table, install);
    table.show();
    result
}

fn one(name: &str) -> Result<()> {
    let mut steps = STEPS.into_iter().chain(BESIDE);
    let Some((_, step)) = steps.find(|it| it.0 == name) else {
        let names = STEPS.into_iter().chain(BESIDE).map(|it| it.0);
        let names: Vec<_> = names.collect();
        bail!("no step is called `{name}`; there are {}", names.join(", "));
    };
    step()
}

fn all(table: &mut Table, install: bool) -> Result<()> {
    if install {
        table.run(("install", install::everything))?;
    }
    let [before @ .., tests] = STEPS;
    for step in before {
        table.run(step)?;
    }
    let [.., kernels] = BESIDE;
    let (mut told, others) = thread::scope(|scope| {
        let others = scope.spawn(|| beside::run_all(&BESIDE.map(|it| it.0)));
        (table.run(tests), others.join())
    });
    let others = others.map_err(|_| anyhow!("what runs beside the tests panicked"))?;
    for done in others? {
        table.row(done.step, done.passed, done.took);
        if done.passed {
            continue;
        }
        eprintln!("\n=== {}, beside the tests\n{}", done.step, done.printed);
        let again = if done.step == KERNELS {
            eprintln!("Emulated machines have limits of time: again, with nothing beside them.");
            table.run(kernels)
        } else {
            Err(anyhow!("step `{}`, see above", done.step))
        };
        told = told.and(again);
    }
    told
}

/// What became of each step, and how long it took.
struct Table {
    start: Instant,
    rows: Vec<(&'static str, bool, Duration)>,
}

impl Table {
    /// Runs a step.
    fn run(&mut self, (name, step): Step) -> Result<()> {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        self.row(name, result.is_ok(), start.elapsed());
        result.with_context(|| format!("step `{name}`"))
    }

    fn row(&mut self, name: &'static str, passed: bool, took: Duration) {
        self.rows.push((name, passed, took));
    }

    fn show(&self) {
        eprintln!("\n{:<12} {:<7} {:>7}", "step", "result", "seconds");
        for (name, passed, took) in &self.rows {
            let result = if *passed { "ok" } else { "FAILED" };
            eprintln!("{name:<12} {result:<7} {:>7.1}", took.as_secs_f64());
        }
        // Less than their sum.
        let all = self.start.elapsed();
        eprintln!("{:<12} {:<7} {:>7.1}", "all", "", all.as_secs_f64());
    }
}

fn fmt() -> Result<()> {
    run(cargo("fmt").args(["--all", "--check"])).context("`cargo fmt --all` puts it right")
}

fn clippy() -> Result<()> {
    run(cargo("clippy")
        .args([
            "--locked",
            "--workspace",
            "--exclude",
            "socktrace-ebpf",
            "--all-targets",
        ])
        .args(["--", "-D", "warnings"]))
}

fn clippy_bpf() -> Result<()> {
    let recorded = Record::read()?.map(|it| it.tools);
    let toolchain = Toolchain::find(recorded.as_ref())?;
    run(bpf::cargo(&toolchain, "clippy")?.args(["--", "-D", "warnings"]))
}

fn deny() -> Result<()> {
    if find("cargo-deny").is_none() {
        bail!("cargo-deny is missing: `cargo xtask install` installs it");
    }
    run(cargo("deny").args(["check", "bans", "licenses", "sources"]))
}

fn docs() -> Result<()> {
    run(cargo("doc")
        .args([
            "--locked",
            "--no-deps",
            "--workspace",
            "--exclude",
            "socktrace-ebpf",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"))
}
