//! A file of JSON, one alert a line.

use std::{fs, io, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use rustix::fs::OFlags;

use super::{
    Alert,
    lane::{Deliver, Undelivered},
    settings,
};

pub(super) struct File(settings::File);

impl File {
    pub(super) fn new(settings: settings::File) -> Self {
        Self(settings)
    }

    fn open(&self) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        // A pipe that nobody reads is an error, and nothing to wait for.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        options.open(&self.0.path)
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut file = self.open()?;
        let before = file.metadata()?;
        file.write_all(line.as_bytes()).inspect_err(|_| {
            // Half a line would spoil the next one. If that fails too there is nothing left to do.
            if before.is_file() {
                file.set_len(before.len()).unwrap_or_default();
            }
        })
    }

    fn told(&self, error: &io::Error) -> Undelivered {
        Undelivered::yet(format!("{}: {error}", self.0.path.display()))
    }
}

impl Deliver for File {
    fn ready(&mut self) -> Result<(), Undelivered> {
        self.open().map(drop).map_err(|error| self.told(&error))
    }

    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered> {
        let appended = self.append(&alert.json);
        appended.map_err(|error| self.told(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use serde_json::Value;

    use super::{
        super::testing::{alerts, block_on, finding},
        *,
    };
    use crate::detect::Severity;

    fn file(path: impl Into<std::path::PathBuf>) -> File {
        File::new(settings::File { path: path.into() })
    }

    #[test]
    fn alerts_are_appended_also_when_the_file_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.json");
        let mut outlet = file(&path);
        let [start, update, clear] = alerts(finding(Severity::Confirmed, 42));
        block_on(outlet.deliver(&start)).unwrap();
        block_on(outlet.deliver(&update)).unwrap();
        let moved = folder.path().join("alerts.json.1");
        fs::rename(&path, &moved).unwrap();
        block_on(outlet.deliver(&clear)).unwrap();
        let words = |path| {
            let text = fs::read_to_string(path).unwrap();
            let rows = text.lines().map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                assert_eq!(row["complete"], true);
                row["alert"].as_str().unwrap().to_owned()
            });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(words(moved), ["start", "update"]);
        assert_eq!(words(path), ["clear"]);
    }

    /// A file system of one page, gone when it is dropped.
    struct Small(tempfile::TempDir);

    impl Small {
        fn new() -> Option<Self> {
            let small = Self(tempfile::tempdir().unwrap());
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=4k", "socktrace-test"]);
            let status = mount.arg(small.0.path()).stderr(Stdio::null()).status();
            status.is_ok_and(|it| it.success()).then_some(small)
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let mut umount = Command::new("umount");
            drop(umount.arg(self.0.path()).stderr(Stdio::null()).status());
        }
    }

    #[test]
    #[allow(
        clippy::print_stdout,
        reason = "whoever wonders why nothing was tested"
    )]
    fn a_full_disk_keeps_no_half_of_a_line_and_takes_it_when_there_is_room() {
        let Some(small) = Small::new() else {
            println!("file systems cannot be mounted: not tested");
            return;
        };
        let path = small.0.path().join("alerts.json");
        let mut outlet = file(&path);
        let [alert, ..] = alerts(finding(Severity::Confirmed, 42));
        let fit = 4096 / alert.json.len();
        for _ in 0..fit {
            block_on(outlet.deliver(&alert)).unwrap();
        }
        for _ in 0..2 {
            let undelivered = block_on(outlet.deliver(&alert)).unwrap_err();
            assert!(undelivered.again);
            assert!(
                undelivered.why.contains("No space left"),
                "{}",
                undelivered.why
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), alert.json.repeat(fit));
        }
        fs::write(&path, "").unwrap();
        block_on(outlet.deliver(&alert)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), alert.json);
    }

    #[test]
    fn what_cannot_be_written_says_which_file_and_why() {
        for (path, why) in [
            ("/dev/full", "No space left on device"),
            ("/nowhere/alerts.json", "No such file or directory"),
        ] {
            let mut outlet = file(path);
            let [alert, ..] = alerts(finding(Severity::Confirmed, 42));
            let undelivered = block_on(outlet.deliver(&alert)).unwrap_err();
            assert!(undelivered.again);
            assert!(undelivered.why.contains(path), "{}", undelivered.why);
            assert!(undelivered.why.contains(why), "{}", undelivered.why);
        }
    }
}
