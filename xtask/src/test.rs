//! `cargo xtask test`: every test, those too that need root and a kernel to watch.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};

use crate::{
    compiler::field,
    install,
    util::{cargo, find, is_root, output, run},
};

pub(crate) fn test(install: bool, args: &[OsString]) -> Result<()> {
    if install {
        install::for_tests()?;
    }
    let missing = install::missing_for_tests(|program| find(program).is_some());
    if !missing.is_empty() {
        bail!(
            "the tests need {}: `cargo xtask test --install` installs it",
            missing.join(", ")
        );
    }
    if !is_root() && find("sudo").is_none() {
        bail!("the kernel tests need root and there is no sudo: run the same command as root");
    }
    // Who names tests wants those. Doc tests run first: the end of the output is then nextest's.
    if args.is_empty() {
        run(cargo("test").args([
            "--doc",
            "--package",
            "socktrace",
            "--package",
            "socktrace-common",
        ]))?;
    }
    if is_root() {
        return run(nextest().args(args));
    }
    run(&mut part("unprivileged", args))?;
    // Asked now, as nextest gives its tests no terminal to ask on.
    run(Command::new("sudo").arg("--validate"))?;
    run(part("privileged", args).env(runner_variable()?, "sudo --preserve-env"))
}

/// The tests of one profile of .config/nextest.toml. A name that a person gives need not be in
/// both parts.
fn part(profile: &str, args: &[OsString]) -> Command {
    let mut part = nextest();
    part.args(["--profile", profile]);
    if !args.is_empty() {
        part.args(["--no-tests", "warn"]);
    }
    part.args(args);
    part
}

fn nextest() -> Command {
    let mut nextest = cargo("nextest");
    nextest.args(["run", "--workspace", "--exclude", "socktrace-ebpf"]);
    nextest
}

/// Where cargo and nextest look for the program that starts test binaries of this machine.
fn runner_variable() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = field(&version, "host")?.replace('-', "_").to_uppercase();
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}
