//! `cargo xtask fuzz`: hostile bytes for everything that reads what somebody else made, by
//! libFuzzer.
//!
//! The targets are in `fuzz/`, a workspace of its own; each calls a function of `socktrace::fuzzing`.
//! The ordinary tests give the same functions their seeds, and a few random changes of them; here
//! a nightly compiler counts branches, so that changes are kept that reach something new. To build
//! that takes long, which is why `ci` leaves it to the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::util::{find, output, run, workspace};

const TOOLCHAIN: &str = "nightly";
/// A target takes no more memory than this for one input, MB, and no more time, seconds.
const MOST_MEMORY: u32 = 2048;
const MOST_TIME: u32 = 10;

/// Seeds that are in the tree anyway.
const OTHERS: [(&str, &[&str]); 2] = [
    ("recording", &["socktrace/testdata"]),
    (
        "web_config",
        &["socktrace/testdata/web/good", "socktrace/testdata/web/bad"],
    ),
];

pub(crate) fn fuzz(seconds: u32, wanted: Option<&str>) -> Result<()> {
    check()?;
    let all = targets()?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|it| wanted.is_none_or(|wanted| wanted == it.as_str()))
        .collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", all.join(", "));
    }
    let mut build = cargo_fuzz("build");
    build.args(wanted);
    run(&mut build)?;
    for target in chosen {
        run(&mut a_while(target, seconds)?).with_context(|| {
            format!("target `{target}`: the input is in fuzz/artifacts/{target}")
        })?;
    }
    Ok(())
}

fn check() -> Result<()> {
    if find("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: `cargo install --locked cargo-fuzz` installs it");
    }
    let toolchains = output(Command::new("rustup").args(["toolchain", "list"]))?;
    if !toolchains.lines().any(|it| it.starts_with(TOOLCHAIN)) {
        bail!(
            "libFuzzer needs a nightly compiler: `rustup toolchain install {TOOLCHAIN} --profile minimal` \
             installs it"
        );
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = workspace().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = file?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        targets.extend(name.map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

fn cargo_fuzz(subcommand: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", TOOLCHAIN, "cargo", "fuzz", subcommand])
        .args(["--fuzz-dir", "fuzz", "--target-dir"])
        .arg(folder())
        .current_dir(workspace());
    command
}

fn folder() -> PathBuf {
    workspace().join("target/fuzz")
}

/// One target for a while. What it finds is kept beside the build, and is where the next run begins.
fn a_while(target: &str, seconds: u32) -> Result<Command> {
    let corpus = folder().join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut command = cargo_fuzz("run");
    command.arg(target).arg(corpus);
    let own = Path::new("fuzz/seeds").join(target);
    let others = OTHERS.iter().filter(|(name, _)| *name == target);
    let others = others.flat_map(|(_, folders)| folders.iter().map(PathBuf::from));
    command.args([own].into_iter().chain(others));
    command.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MOST_MEMORY}"),
        format!("-timeout={MOST_TIME}"),
        "-print_final_stats=1".to_owned(),
    ]);
    Ok(command)
}
