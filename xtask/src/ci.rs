//! `cargo xtask ci`: everything that must hold before a change goes in.
//!
//! The names are those that a failure is reported under.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf, install,
    record::Record,
    test,
    toolchain::Toolchain,
    util::{cargo, find, run},
    vm,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 8] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("clippy-bpf", clippy_bpf),
    ("bpf --check", || bpf::bpf(true, false)),
    ("deny", deny),
    ("test", || test::test(false, &[])),
    ("docs", docs),
    // Last, as it says least of a change.
    ("kernels", || vm::vm(&vm::Options::edges())),
];

pub(crate) fn ci(install: bool) -> Result<()> {
    let mut steps: Vec<Step> = STEPS.into();
    if install {
        steps.insert(0, ("install", install::everything));
    }
    let mut table = Vec::new();
    for (name, step) in steps {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        table.push((
            name,
            if result.is_ok() { "ok" } else { "FAILED" },
            start.elapsed(),
        ));
        if result.is_err() {
            show(&table);
            return result.with_context(|| format!("step `{name}`"));
        }
    }
    show(&table);
    Ok(())
}

fn show(table: &[(&str, &str, Duration)]) {
    eprintln!("\n{:<12} {:<7} {:>7}", "step", "result", "seconds");
    for (name, result, took) in table {
        eprintln!("{name:<12} {result:<7} {:>7.1}", took.as_secs_f64());
    }
    let total: Duration = table.iter().map(|&(_, _, took)| took).sum();
    eprintln!("{:<12} {:<7} {:>7.1}", "all", "", total.as_secs_f64());
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
