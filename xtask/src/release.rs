//! The program as it is given to others: the same bytes, whoever builds it and wherever.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    sources,
    util::{cargo, cargo_home, run, target_dir, workspace},
};

/// What of socktrace is built: the program.
const PROGRAM: [&str; 2] = ["--bin", "socktrace"];

/// Builds it in this machine's tree.
pub(crate) fn build() -> Result<PathBuf> {
    build_these(&PROGRAM)?;
    Ok(target_dir().join("release/socktrace"))
}

/// Builds these (`--bin`, `--example`) in the same way.
pub(crate) fn build_these(what: &[&str]) -> Result<()> {
    let home = cargo_home().context("no CARGO_HOME, and no home to look for it in")?;
    build_in(&workspace(), &home, &target_dir(), what)
}

/// Builds it twice, the second time from a copy of what is committed, in a folder with another name, with
/// another `CARGO_HOME` and nothing that was built before; and compares.
pub(crate) fn check() -> Result<()> {
    let here = build()?;
    let place = target_dir().join("reproduce");
    drop(fs::remove_dir_all(&place));
    let tree = place.join("a-copy-of-the-tree");
    let home = place.join("another-home-of-cargo");
    fs::create_dir_all(&place)?;
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-hardlinks"]);
    run(clone.args([&workspace(), &tree]))?;
    let there = cargo_home().context("no CARGO_HOME")?;
    symlink(fs::canonicalize(there)?, &home)?;
    let target = place.join("target");
    build_in(&tree, &home, &target, &PROGRAM)?;
    let there = target.join("release/socktrace");
    let (first, second) = (sum(&here)?, sum(&there)?);
    if first != second {
        bail!(
            "{} is {first}, and {} is {second}: is everything committed?",
            here.display(),
            there.display()
        );
    }
    eprintln!("built twice, the same: {first}");
    Ok(())
}

/// Where sources are is in messages of panics, so it is told as if it were the same everywhere.
fn build_in(tree: &Path, home: &Path, target: &Path, what: &[&str]) -> Result<()> {
    // Flags that somebody has set are kept; 0x1f is between two in this variable.
    let set = env::var("CARGO_ENCODED_RUSTFLAGS");
    let set = set.or_else(|_| env::var("RUSTFLAGS").map(|it| it.replace(' ', "\x1f")));
    let mut flags: Vec<_> = set.into_iter().filter(|it| !it.is_empty()).collect();
    for (from, to) in [(tree, "/socktrace"), (home, "/cargo")] {
        let from = from
            .to_str()
            .context("not in UTF-8: where the sources are")?;
        flags.push(format!("--remap-path-prefix={from}={to}"));
    }
    run(cargo("build")
        .current_dir(tree)
        .args(["--locked", "--release", "--package", "socktrace"])
        .args(what)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_HOME", home)
        .env("CARGO_TARGET_DIR", target))
}

fn sum(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(sources::hash_of(&bytes))
}
