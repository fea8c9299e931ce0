//! An emulated machine that boots, does one job, and is over.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;

/// What came of the job.
pub(super) struct Done {
    /// All that it wrote.
    pub(super) output: String,
    /// Exit status.
    pub(super) status: i32,
    /// How long the machine was up.
    pub(super) uptime: Duration,
}

/// Where the job's output ends.
const EXIT: &str = "VM-EXIT ";

/// QEMU without KVM, on one thread: version 7.2 has two faults that make boots fail now and then. One
/// is in the instruction cmpxchg16b (so -cx16), one between the threads of its processors.
const MACHINE: &str = "-M pc -accel tcg,thread=single -cpu max,-cx16 -smp 2 -nodefaults \
     -nic none -display none -no-reboot";

/// For the kernel. An emulated timer may stand still for so long, on a busy machine, that a kernel that
/// looks gives up.
const ARGUMENTS: &str = "console=ttyS0 panic=-1 no_timer_check";

/// What the first process says before the job begins.
const READY: &str = "VM-READY";
/// How often a kernel may fail to come so far: that is the emulation's fault, not ours.
const BOOTS: u32 = 3;

/// A machine that is to be.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    /// Its root.
    pub(super) initrd: &'a Path,
    /// In MB.
    pub(super) memory: u32,
    /// Keeps its console and its output.
    pub(super) folder: &'a Path,
    /// Before it is taken to hang.
    pub(super) limit: Duration,
}

/// Boots it, again if it comes to nothing.
pub(super) fn boot(machine: &Machine<'_>) -> Result<Done> {
    for _ in 1..BOOTS {
        match boot_once(machine) {
            Err(error) if !text(&machine.folder.join("output")).contains(READY) => {
                eprintln!("{error:#}\nit is booted again");
            }
            done => return done,
        }
    }
    boot_once(machine)
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

fn boot_once(machine: &Machine<'_>) -> Result<Done> {
    let (kernel, folder, limit) = (machine.kernel, machine.folder, machine.limit);
    let (console, job) = (folder.join("console"), folder.join("output"));
    let mut qemu = Command::new("timeout");
    // In the foreground, so that Ctrl-C ends the machine, too.
    qemu.args(["--foreground", "--kill-after=5"]);
    qemu.arg(limit.as_secs().to_string());
    qemu.args(["nice", "-n", "5", "qemu-system-x86_64"]);
    qemu.args(MACHINE.split_whitespace());
    qemu.args(["-m", &machine.memory.to_string()]);
    qemu.args(["-serial", &format!("file:{}", console.display())]);
    qemu.args(["-serial", &format!("file:{}", job.display())]);
    qemu.arg("-kernel").arg(kernel.image());
    qemu.arg("-initrd").arg(machine.initrd);
    qemu.args(["-append", ARGUMENTS]);
    let log = folder.join("qemu.log");
    let status = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .status()
        .context("cannot start QEMU")?;
    let output = text(&job);
    if let Some((output, status, uptime)) = ended(&output) {
        return Ok(Done {
            output: output.to_owned(),
            status,
            uptime,
        });
    }
    let ends = |text: &str| {
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    };
    bail!(
        "Linux {} did not come to the end of its job ({status}, at most {limit:?})\n{}\nits console ends:\n{}\n\
         its output ends:\n{}",
        kernel.release,
        text(&log),
        ends(&text(&console)),
        ends(&output)
    )
}

/// Output, status and uptime of a job that came to its end.
fn ended(output: &str) -> Option<(&str, i32, Duration)> {
    let at = output.rfind(EXIT)?;
    let mut words = output[at + EXIT.len()..].split_whitespace();
    let status = words.next()?.parse().ok()?;
    let uptime = Duration::try_from_secs_f64(words.next()?.parse().ok()?).ok()?;
    Some((output[..at].trim_end_matches('\n'), status, uptime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_ended_has_a_status() {
        let output = "VM-READY 6.1 2.5\nhello\n\nVM-EXIT 3 4.50\n";
        let (text, status, uptime) = ended(output).unwrap();
        assert_eq!(text, "VM-READY 6.1 2.5\nhello");
        assert_eq!((status, uptime), (3, Duration::from_millis(4500)));
    }

    #[test]
    fn one_that_did_not_has_none() {
        assert!(ended("VM-READY 6.1 2.5\nhello\n").is_none());
        assert!(ended("VM-EXIT ").is_none());
    }
}
