//! How long it takes to begin: until the daemon is ready, and until `trace` tells of a first event.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::{
    super::{load::Full, measure::median},
    subject::{Folder, command},
};
use crate::util::{as_root, target_dir};

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Medians, milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Starts {
    daemon_ready_ms: f64,
    trace_first_event_ms: f64,
}

#[allow(clippy::print_stdout, reason = "that is the result")]
pub(super) fn measure(starts: usize) -> Result<Starts> {
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    let space = Full::new("bench-starts", 0, 1)?;
    for _ in 0..starts {
        let folder = Folder::new("bench-starts")?;
        let daemon = command(&folder.0, "")?;
        ready.push(until(daemon, &folder.0, "stderr", "following sockets")?);
        let own = std::env::current_exe()?;
        let mut pace = space.command(&own.to_string_lossy());
        let mut pace = Ended(pace.args(["pace", "500", "60"]).spawn()?);
        let mut trace = as_root(target_dir().join("release/socktrace"))?;
        trace.args(["trace", "-o", "json", "--proto", "tcp"]);
        first.push(until(trace, &folder.0, "stdout", "\"event\":")?);
        pace.end();
    }
    let starts = Starts {
        daemon_ready_ms: median(ready),
        trace_first_event_ms: median(first),
    };
    println!(
        "the daemon is ready after {:.0} ms, trace tells of a first event after {:.0} ms",
        starts.daemon_ready_ms, starts.trace_first_event_ms
    );
    Ok(starts)
}

/// How long until it says so, milliseconds.
fn until(mut command: Command, folder: &Path, stream: &str, words: &str) -> Result<f64> {
    let begin = Instant::now();
    let file = |name: &str| File::create(folder.join(name));
    let child = command
        .stdin(Stdio::null())
        .stdout(file("stdout")?)
        .stderr(file("stderr")?)
        .spawn()?;
    let mut child = Ended(child);
    while begin.elapsed() < PATIENCE {
        if fs::read_to_string(folder.join(stream))?.contains(words) {
            let took = begin.elapsed().as_secs_f64() * 1e3;
            kill_process(Pid::from_child(&child.0), Signal::TERM)?;
            child.0.wait()?;
            return Ok(took);
        }
        if let Some(status) = child.0.try_wait()? {
            bail!("it ended ({status}) before it said `{words}`");
        }
        sleep(Duration::from_millis(2));
    }
    bail!("it never said `{words}`")
}

/// A process that is ended when dropped.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}
