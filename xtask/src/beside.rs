//! Steps of `cargo xtask ci` that run beside the tests, on what those leave of the processors.
//!
//! Kernel tests are waiting for most of their time. A step here has the policy `SCHED_IDLE`: it runs when
//! nothing else wants to, so the tests are no slower for it, and see no more of it than its files.

use std::{
    env,
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::util::{output, target_dir};

/// The step that runs tests, too.
pub(crate) const KERNELS: &str = "kernels";

/// A step that is over.
pub(crate) struct Done {
    pub(crate) step: &'static str,
    pub(crate) passed: bool,
    pub(crate) took: Duration,
    /// What it printed.
    pub(crate) printed: String,
}

/// Runs them, one after the other.
pub(crate) fn run_all(steps: &[&'static str]) -> Result<Vec<Done>> {
    let folder = target_dir().join("beside");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    steps.iter().map(|step| run(step, &folder)).collect()
}

fn run(step: &'static str, folder: &Path) -> Result<Done> {
    let start = Instant::now();
    let log = folder.join(format!("{step}.log"));
    let status =
        run_into(step, folder, &log).with_context(|| format!("cannot run the step `{step}`"))?;
    Ok(Done {
        step,
        passed: status.success(),
        took: start.elapsed(),
        printed: fs::read_to_string(&log).unwrap_or_default(),
    })
}

/// Runs this program again, for one step.
fn run_into(step: &str, folder: &Path, log: &Path) -> Result<ExitStatus> {
    let out = File::create(log)?;
    let mut command = behind_all_others();
    command.arg(env::current_exe()?);
    command.args(["ci", "--only", step]);
    // Cargo lets one command at a time into a folder, and the tests must not wait for one that runs when
    // nothing else does. Other kernels run the tests that are there already.
    if step != KERNELS {
        command.env("CARGO_TARGET_DIR", folder);
    }
    command.stderr(out.try_clone()?).stdout(out);
    Ok(command.status()?)
}

/// What runs the rest of its arguments when nothing else wants to run; where the policy is not to be had
/// (some containers), seldom.
fn behind_all_others() -> Command {
    let with = |program: &str, option: &str, value: &str| {
        let mut command = Command::new(program);
        command.args([option, value]);
        command
    };
    if output(with("chrt", "--idle", "0").arg("true")).is_ok() {
        with("chrt", "--idle", "0")
    } else {
        with("nice", "-n", "19")
    }
}
