//! A tool at work: in a control group of its own, whose CPU time the kernel counts to the
//! microsecond, with all threads and children.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A tool is at rest when it takes less than this in [`REST`].
const REST_NS: f64 = 15e6;
const REST: Duration = Duration::from_millis(300);
/// Longer than any tool takes to load or to drain.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running tool; ended when dropped.
pub(crate) struct Tool {
    name: String,
    child: Child,
    group: Group,
}

impl Tool {
    /// Starts the tool, its output in files of `folder`, and waits until it is at rest: loaded,
    /// attached, and through with whatever it does first. `says`: what it says when it has begun, if
    /// it does.
    pub(crate) fn start(
        name: &str,
        command: &Command,
        folder: &Path,
        says: Option<&str>,
    ) -> Result<Self> {
        let group = Group::new()?;
        let mut joined = Command::new("sh");
        joined.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        joined.arg(group.0.join("cgroup.procs"));
        joined.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            joined.env(name, value.unwrap_or_default());
        }
        let child = joined
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("stdout"))?)
            .stderr(File::create(folder.join("stderr"))?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut tool = Self {
            name: name.to_owned(),
            child,
            group,
        };
        sleep(Duration::from_millis(700));
        if let Some(words) = says {
            tool.hear(words, &folder.join("stderr"))?;
        }
        tool.rest()?;
        Ok(tool)
    }

    /// On a machine that is busy otherwise, a tool that waits for its turn looks as if at rest.
    fn hear(&mut self, words: &str, said: &Path) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if fs::read_to_string(said)?.contains(words) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status})", self.name);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("{} does not begin", self.name)
    }

    /// Waits until the tool has nothing to do any more.
    pub(crate) fn rest(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut before = self.cpu_ns()?;
        while begin.elapsed() < PATIENCE {
            sleep(REST);
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status})", self.name);
            }
            let now = self.cpu_ns()?;
            if now - before < REST_NS {
                return Ok(());
            }
            before = now;
        }
        bail!("{} is never at rest", self.name)
    }

    /// CPU time since it was started, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<f64> {
        let text = fs::read_to_string(self.group.0.join("cpu.stat"))?;
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Ok(usage.context("no usage in cpu.stat")?.parse::<f64>()? * 1e3)
    }

    /// What its processes have in memory, MB; a ring buffer counts twice, as it is mapped twice.
    pub(crate) fn rss_mb(&self) -> Result<f64> {
        let pids = fs::read_to_string(self.group.0.join("cgroup.procs"))?;
        let of = |pid: &str| -> Option<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Ok(pids.lines().filter_map(of).sum::<f64>() / 1024.0)
    }

    /// Its process, the first one if there are more.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a person does, with Ctrl-C, and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                bail!("{} does not end", self.name);
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.group.kill();
        drop(self.child.wait());
    }
}

/// A control group of version 2, gone when dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let path = words.next()?;
            (words.next()? == "cgroup2").then_some(path)
        });
        let root = root.context("control groups of version 2 are not mounted")?;
        let path = Path::new(root).join(format!("socktrace-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn kill(&self) {
        drop(fs::write(self.0.join("cgroup.kill"), "1"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
