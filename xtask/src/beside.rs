//! Steps of `cargo xtask ci` that run beside the tests, on what those leave of the processors.
//!
//! Kernel tests are waiting for most of their time. A step here has the policy `SCHED_IDLE`: it runs when
//! nothing else wants to, so the tests are no slower for it, and see no more of it than its files.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

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

/// Steps that are under way, one after the other.
pub(crate) struct Beside(JoinHandle<Result<Vec<Done>>>);

impl Beside {
    pub(crate) fn start(steps: Vec<&'static str>) -> Result<Self> {
        let folder = target_dir().join("beside");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let all = move || {
            let done = steps.into_iter().map(|step| run(step, &folder));
            done.collect()
        };
        Ok(Self(thread::spawn(all)))
    }

    /// Waits for all of them.
    pub(crate) fn finish(self) -> Result<Vec<Done>> {
        self.0
            .join()
            .unwrap_or_else(|_| bail!("a step that ran beside the tests panicked"))
    }
}

fn run(step: &'static str, folder: &Path) -> Result<Done> {
    let start = Instant::now();
    let log = folder.join(format!("{step}.log"));
    let status = child(step, folder, &log)
        .and_then(|mut child| Ok(child.wait()?))
        .with_context(|| format!("cannot run the step `{step}`"))?;
    Ok(Done {
        step,
        passed: status.success(),
        took: start.elapsed(),
        printed: fs::read_to_string(&log).unwrap_or_default(),
    })
}

/// This program again, for one step.
fn child(step: &str, folder: &Path, log: &PathBuf) -> Result<Child> {
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
    Ok(command.spawn()?)
}

/// What runs the rest of its arguments when nothing else wants to run; where the policy is not to be had
/// (some containers), seldom.
fn behind_all_others() -> Command {
    let idle = ["--idle", "0"];
    if output(Command::new("chrt").args(idle).arg("true")).is_ok() {
        let mut chrt = Command::new("chrt");
        chrt.args(idle);
        return chrt;
    }
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]);
    nice
}
