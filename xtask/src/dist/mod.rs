//! `cargo xtask dist`: the packages, for Debian and for those with rpm, in `target/dist`.
//!
//! What they hold is listed in socktrace/Cargo.toml. The same commit gives the same bytes, with the
//! same tools: all times in them are the commit's.

mod stage;
mod third_party;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    release,
    util::{cargo, find, output, run, target_dir, workspace},
};

/// cargo's plugins that make packages.
pub(crate) const DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

pub(crate) fn dist() -> Result<()> {
    for (maker, version) in [DEB, RPM] {
        if find(maker).is_none() {
            bail!("{maker} is missing: `cargo install --locked {maker}@{version}` installs it");
        }
    }
    let program = release::build()?;
    let target = target_dir();
    let out = target.join("dist");
    drop(fs::remove_dir_all(&out));
    let deb = deb(&program, &target, &out)?;
    run(cargo("generate-rpm")
        .args(["--package", "socktrace", "--target-dir"])
        .arg(&target)
        .arg("--output")
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", time()?))?;
    check(&deb)?;
    eprintln!("{} and the .rpm beside it are made", deb.display());
    Ok(())
}

/// By Debian's own rules, where its tool for that is installed. Exceptions are in
/// packaging/deb/lintian-overrides.
fn check(deb: &Path) -> Result<()> {
    if find("lintian").is_none() {
        eprintln!("not checked: lintian is missing (Debian's package of that name)");
        return Ok(());
    }
    let mut lintian = Command::new("lintian");
    // Nothing of it depends on who runs it.
    lintian.args(["--allow-root", "--no-cfg", "--pedantic", "--display-info"]);
    run(lintian.arg("--fail-on=error,warning,info").arg(deb))
}

/// The package for Debian with this program, in `out`. What is put together for it goes to
/// `release/package` below `target`, where the list in Cargo.toml has it.
pub(crate) fn deb(program: &Path, target: &Path, out: &Path) -> Result<PathBuf> {
    stage::stage(program, &target.join("release/package"), &time()?)?;
    fs::create_dir_all(out)?;
    let told = output(
        cargo("deb")
            .args(["--quiet", "--no-build", "--no-strip"])
            .args(["--package", "socktrace", "--output"])
            .arg(out)
            .env("CARGO_TARGET_DIR", target)
            .env("SOURCE_DATE_EPOCH", time()?),
    )?;
    // It prints where the package is, and nothing else.
    Ok(PathBuf::from(told.trim()))
}

/// The time that all files have, in seconds: who builds may name one, else it is the commit's.
fn time() -> Result<String> {
    if let Ok(time) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let log = output(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(workspace()),
    )
    .context("without git, SOURCE_DATE_EPOCH must name the time that the files get")?;
    Ok(log.trim().to_owned())
}
