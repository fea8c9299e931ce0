//! `cargo xtask test`: every test, those too that need root and a kernel to watch.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};

use crate::{
    install,
    toolchain::field,
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
    if find("sudo").is_none() {
        bail!("the kernel tests need root and there is no sudo: run the same command as root");
    }
    run(nextest().args(["--profile", "unprivileged"]).args(args))?;
    // Asked now, as nextest gives its tests no terminal to ask on.
    run(Command::new("sudo").arg("--validate"))?;
    run(nextest()
        .args(["--profile", "privileged"])
        .args(args)
        .env(runner_variable()?, "sudo --preserve-env"))
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
