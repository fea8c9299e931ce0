//! The journal, by its native protocol, with fields of our own.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>: a datagram of `NAME=text` lines; a text with a line
//! break has its length before it instead. Nothing that a process chose can pass for a field so.

use std::{io, os::unix::net::UnixDatagram, time::Duration};

use super::{
    Alert, Change,
    lane::{Deliver, Undelivered},
    settings,
};
use crate::detect::Severity;

/// What tells alerts from all other messages: `journalctl MESSAGE_ID=…`.
const MESSAGE_ID: &str = "5a7f39bb4dd64e0a9a3c5f1f0f1be5c7";
/// A journal that takes nothing for so long is tried later.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Journald(settings::Journald);

impl Journald {
    pub(super) fn new(settings: settings::Journald) -> Self {
        Self(settings)
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to(datagram, &self.0.socket).map(drop)
    }
}

impl Deliver for Journald {
    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered> {
        self.send(&datagram(alert))
            .map_err(|error| Undelivered::yet(format!("{}: {error}", self.0.socket.display())))
    }
}

fn datagram(alert: &Alert) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let message = format!("{} {}", alert.severity.word(), alert.summary());
    field(&mut out, "MESSAGE", &message);
    field(&mut out, "MESSAGE_ID", MESSAGE_ID);
    field(&mut out, "PRIORITY", priority(alert));
    field(&mut out, "SYSLOG_IDENTIFIER", "socktrace");
    for (name, text) in alert.facts() {
        field(&mut out, &format!("SOCKTRACE_{name}"), &text);
    }
    out
}

/// The words of syslog. That something is over is good to know, and no more.
fn priority(alert: &Alert) -> &'static str {
    match (alert.change, alert.severity) {
        (Change::Clear, _) | (_, Severity::Info) => "6",
        (_, Severity::Suspect) => "5",
        (_, Severity::Confirmed | Severity::Warning) => "4",
        (_, Severity::Critical) => "2",
    }
}

fn field(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend(name.as_bytes());
    if text.contains(char::is_control) {
        out.push(b'\n');
        out.extend((text.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(text.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{
        super::testing::{alerts, block_on, eventually, finding},
        *,
    };

    /// The fields of a datagram, read as journald reads them.
    fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !datagram.is_empty() {
            let end = datagram.iter().position(|it| *it == b'\n').unwrap();
            let (line, rest) = (&datagram[..end], &datagram[end + 1..]);
            if let Some(at) = line.iter().position(|it| *it == b'=') {
                fields.push((text(&line[..at]), text(&line[at + 1..])));
                datagram = rest;
            } else {
                let (length, rest) = rest.split_first_chunk().unwrap();
                let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
                fields.push((text(line), text(&rest[..length])));
                assert_eq!(rest[length], b'\n');
                datagram = &rest[length + 1..];
            }
        }
        fields
    }

    #[test]
    fn a_name_with_a_line_break_is_one_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut outlet = Journald::new(settings::Journald { socket: path });
        let [start, _, clear] = alerts(finding(Severity::Confirmed, 42));
        let mut received = vec![0; 1 << 16];
        let mut send = |alert| {
            block_on(outlet.deliver(alert)).unwrap();
            let length = journal.recv(&mut received).unwrap();
            fields(&received[..length])
        };
        let sent = send(&start);
        let of = |sent: &[(String, String)], name: &str| {
            let mut values = sent.iter().filter(|(key, _)| key == name);
            let value = values.next().map(|(_, value)| value.clone());
            assert!(values.next().is_none(), "{name} twice");
            value
        };
        for (name, value) in [
            (
                "MESSAGE",
                "confirmed close_wait: 42 sockets of ng\\u{1b}[2J\\nPRIO=0 (pid 7) to 10.0.0.9:5432, \
                 the oldest 400.0 s",
            ),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "socktrace"),
            ("SOCKTRACE_ALERT", "start"),
            ("SOCKTRACE_KIND", "close_wait"),
            ("SOCKTRACE_SEVERITY", "confirmed"),
            ("SOCKTRACE_COMPLETE", "true"),
            ("SOCKTRACE_COMM", "ng\x1b[2J\nPRIO=0"),
            ("SOCKTRACE_PID", "7"),
            ("SOCKTRACE_REMOTE", "10.0.0.9:5432"),
            ("SOCKTRACE_COUNT", "42"),
        ] {
            assert_eq!(of(&sent, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(of(&sent, "PRIO"), None);
        assert_eq!(of(&sent, "SOCKTRACE_LPORT"), None);
        let sent = send(&clear);
        assert_eq!(of(&sent, "SOCKTRACE_ALERT").as_deref(), Some("clear"));
        assert_eq!(of(&sent, "PRIORITY").as_deref(), Some("6"));
    }

    #[test]
    fn without_a_journal_it_says_so_and_tries_again() {
        let socket = "/nowhere/socket".into();
        let mut outlet = Journald::new(settings::Journald { socket });
        let undelivered = block_on(outlet.deliver(&super::super::testing::alert())).unwrap_err();
        assert!(undelivered.again);
        assert!(undelivered.why.contains("/nowhere/socket: No such file"));
    }

    /// A journald of our own beside the system's: a namespace of the journal, and what goes with it.
    struct Journal {
        daemon: std::process::Child,
        name: String,
    }

    impl Drop for Journal {
        fn drop(&mut self) {
            let pid = rustix::process::Pid::from_child(&self.daemon);
            // Its end may have come first.
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap_or_default();
            drop(self.daemon.wait());
            let left = format!(
                "rm -rf /run/systemd/journal.{0} /run/log/journal/*.{0} /var/log/journal/*.{0}",
                self.name
            );
            drop(Command::new("sh").args(["-c", &left]).status());
        }
    }

    #[test]
    #[allow(
        clippy::print_stdout,
        reason = "whoever wonders why nothing was tested"
    )]
    fn journalctl_shows_what_the_real_journald_was_sent() {
        let program = "/lib/systemd/systemd-journald";
        let root = rustix::process::geteuid().is_root();
        if !root || !std::path::Path::new(program).exists() {
            println!("without systemd-journald, or not as root: not tested");
            return;
        }
        let name = format!("socktrace{}", std::process::id());
        let daemon = Command::new(program)
            .arg(&name)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let journal = Journal { daemon, name };
        let socket = format!("/run/systemd/journal.{}/socket", journal.name);
        let mut outlet = Journald::new(settings::Journald {
            socket: socket.into(),
        });
        let [alert, ..] = alerts(finding(Severity::Confirmed, 42));
        eventually(|| block_on(outlet.deliver(&alert)).is_ok());
        let mut told = String::new();
        eventually(|| {
            let output = Command::new("journalctl")
                .arg(format!("--namespace={}", journal.name))
                .args(["--no-pager", "-o", "json", "SOCKTRACE_KIND=close_wait"])
                .output()
                .unwrap();
            told = String::from_utf8(output.stdout).unwrap();
            !told.is_empty()
        });
        let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
        assert_eq!(told["SOCKTRACE_ALERT"], "start");
        assert_eq!(told["MESSAGE_ID"], MESSAGE_ID);
        assert_eq!(told["SYSLOG_IDENTIFIER"], "socktrace");
        assert_eq!(told["PRIORITY"], "4");
        // journalctl gives what is not fit for a terminal as numbers.
        let name: Vec<u8> = serde_json::from_value(told["SOCKTRACE_COMM"].clone()).unwrap();
        assert_eq!(name, b"ng\x1b[2J\nPRIO=0");
    }
}
