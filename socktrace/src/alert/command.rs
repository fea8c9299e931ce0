//! Runs a program for each alert: JSON on its standard input, a few facts in its environment.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use caps::CapSet;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{self, Child},
    time::timeout,
};

use super::{
    Alert,
    lane::{Deliver, Undelivered},
    settings,
};
use crate::{descriptors, field::printable};

/// One that is ended has so long to be gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) struct Command(settings::Command);

impl Command {
    pub(super) fn new(settings: settings::Command) -> Self {
        Self(settings)
    }

    /// No shell comes between: what processes chose is data, in the environment as on the input.
    fn start(&self, alert: &Alert) -> io::Result<Child> {
        let words = &self.0.run.0;
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = process::Command::new(program);
        for (name, text) in alert.facts() {
            command.env(format!("SOCKTRACE_{name}"), printable(&text));
        }
        // SAFETY: between fork and exec it makes one system call: no allocation, no lock.
        unsafe { command.pre_exec(descriptors::restore) };
        command
            .args(arguments)
            .stdin(Stdio::piped())
            // Standard output is for rows.
            .stdout(Stdio::null())
            // With what it starts, it can be ended.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

impl Deliver for Command {
    fn ready(&mut self) -> Result<(), Undelivered> {
        // What the program is not to inherit under systemd: our right to look into processes. It is
        // this thread's to give up, and kernels before 4.3 have none.
        caps::clear(None, CapSet::Ambient).unwrap_or_default();
        Ok(())
    }

    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered> {
        let program = &self.0.run.0[0];
        let mut child = self
            .start(alert)
            .map_err(|error| Undelivered::yet(format!("{program} cannot be run: {error}")))?;
        let Ok(ended) = timeout(self.0.timeout.0, feed(&mut child, alert)).await else {
            end(&mut child).await;
            let seconds = self.0.timeout.0.as_secs_f64();
            let why = format!("{program} was ended as it took more than {seconds} s");
            return Err(Undelivered::at_all(why));
        };
        // It was run: what it has done already is not to be done twice.
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Undelivered::at_all(format!("{program}: {status}"))),
            Err(error) => Err(Undelivered::at_all(format!("{program}: {error}"))),
        }
    }
}

async fn feed(child: &mut Child, alert: &Alert) -> io::Result<ExitStatus> {
    if let Some(mut input) = child.stdin.take() {
        // Whoever is content with the environment may close it.
        input
            .write_all(alert.json.as_bytes())
            .await
            .unwrap_or_default();
    }
    child.wait().await
}

async fn end(child: &mut Child) {
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(group) = group {
        // It may be gone by now.
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
    drop(timeout(LAST_WORDS, child.wait()).await);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Instant};

    use super::{
        super::testing::{alert, block_on},
        *,
    };
    use crate::detect::settings::Text;

    fn command(words: &[&str], timeout: Duration) -> Command {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let run = settings::Words::try_from(words).unwrap();
        let timeout = Text(timeout);
        Command::new(settings::Command { run, timeout })
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn it_gets_json_and_facts_and_no_shell_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let (input, facts) = (folder.path().join("in"), folder.path().join("facts"));
        let script = "cat > $1; env | grep ^SOCKTRACE_ > $2";
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let words = [
            "sh",
            "-c",
            script,
            "$(touch never)",
            &path(&input),
            &path(&facts),
        ];
        let mut alert = alert();
        alert.comm = Some("$(touch never);\x1b`id`\n".to_owned());
        block_on(command(&words, LONG).deliver(&alert)).unwrap();
        assert_eq!(fs::read_to_string(input).unwrap(), alert.json);
        let facts = fs::read_to_string(facts).unwrap();
        for fact in [
            "ALERT=start",
            "KIND=close_wait",
            "SEVERITY=confirmed",
            "COMPLETE=true",
            "COMM=$(touch never);\\u{1b}`id`\\n",
            "PID=7",
            "REMOTE=10.0.0.9:5432",
        ] {
            assert!(
                facts
                    .lines()
                    .any(|line| line == format!("SOCKTRACE_{fact}")),
                "{facts}"
            );
        }
        assert!(!Path::new("never").exists());
    }

    #[test]
    #[allow(
        clippy::print_stdout,
        reason = "whoever wonders why nothing was tested"
    )]
    fn it_does_not_inherit_what_systemd_gave_us() {
        let raise = |set| caps::raise(None, set, caps::Capability::CAP_NET_RAW);
        if raise(CapSet::Inheritable)
            .and(raise(CapSet::Ambient))
            .is_err()
        {
            println!("without privileges to inherit: not tested");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        let script = "grep CapAmb /proc/self/status > $0";
        let mut outlet = command(&["sh", "-c", script, path.to_str().unwrap()], LONG);
        let mut inherited = || {
            block_on(outlet.deliver(&alert())).unwrap();
            let told = fs::read_to_string(&path).unwrap();
            let before = u64::from_str_radix(told.split_whitespace().nth(1).unwrap(), 16);
            (before.unwrap(), outlet.ready().unwrap()).0
        };
        assert_ne!(inherited(), 0);
        assert_eq!(inherited(), 0);
    }

    #[test]
    fn one_that_fails_is_not_run_again_and_one_that_is_missing_is() {
        for (words, again, said) in [
            (&["sh", "-c", "exit 3"][..], false, "exit status: 3"),
            (&["/nowhere/program"], true, "cannot be run: No such file"),
        ] {
            let undelivered = block_on(command(words, LONG).deliver(&alert())).unwrap_err();
            assert_eq!(undelivered.again, again);
            assert!(undelivered.why.contains(said), "{}", undelivered.why);
        }
        // Not reading is no failure.
        block_on(command(&["true"], LONG).deliver(&alert())).unwrap();
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = "sleep 1000 & echo $! > $0; wait";
        let mut slow = command(
            &["sh", "-c", script, pid.to_str().unwrap()],
            Duration::from_secs(2),
        );
        let began = Instant::now();
        let undelivered = block_on(slow.deliver(&alert())).unwrap_err();
        assert!(began.elapsed() < Duration::from_mins(10));
        assert!(
            undelivered.why.contains("more than 2 s"),
            "{}",
            undelivered.why
        );
        let pid = fs::read_to_string(pid).unwrap();
        // Gone, or a zombie until somebody asks for it.
        super::super::testing::eventually(|| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        });
    }
}
