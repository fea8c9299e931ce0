//! What must not be forgotten when the daemon starts again: since when sockets are as they are, and
//! since when there is a finding. The kernel tells of neither.
//!
//! Cookies and pids mean the same until the machine starts again, which its boot identifier says.
//!
//! The loop makes a list, which is quick; a thread of its own makes text of it and writes. While it is
//! at it, as disks can take long, there is no other list.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::privileges;
use crate::{
    clock::monotonic_ns,
    commands::watch::Watcher,
    detect::Remembered,
    pipeline::Pipeline,
    sandbox::{Files, folders},
    table::{Past, SocketTable},
};

const VERSION: u32 = 1;
/// A minute between two times: what is forgotten after a crash is at most that.
const EVERY_NS: u64 = 60_000_000_000;
/// Younger sockets are not remembered: leaks are old.
const OLD_NS: u64 = 60_000_000_000;
/// No more than this: the oldest.
const MOST: usize = 100_000;

/// The file.
#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    boot: String,
    sockets: Vec<Past>,
    findings: Vec<Remembered>,
}

/// Keeps it.
pub(super) struct Memory {
    file: Option<PathBuf>,
    /// Begins with the first that is written.
    writer: Option<Writer>,
    kept_ns: u64,
}

impl Memory {
    /// In this directory, if there is one.
    pub(super) fn open(directory: Option<&Path>) -> Self {
        Self {
            file: directory.map(|it| it.join("state.json")),
            writer: None,
            kept_ns: monotonic_ns(),
        }
    }

    /// Takes over what was known before, of what is still there.
    pub(super) fn recall(&mut self, pipeline: &mut Pipeline, watcher: &mut Watcher<'_>) {
        let Some(state) = self.file.as_deref().and_then(read) else {
            return;
        };
        info!(
            sockets = pipeline.remember(&state.sockets),
            findings = state.findings.len(),
            "the state of the last run was read"
        );
        watcher.remember(state.findings);
    }

    /// Has it written, if it was not for long.
    pub(super) fn keep(&mut self, table: &SocketTable, watcher: &Watcher<'_>) {
        let now = monotonic_ns();
        if now.saturating_sub(self.kept_ns) < EVERY_NS {
            return;
        }
        self.kept_ns = now;
        if let Some(writer) = self.writer() {
            writer.offer(State::new(table, watcher));
        }
    }

    /// Writes it for the last time, and waits for that.
    pub(super) fn keep_last(&mut self, table: &SocketTable, watcher: &Watcher<'_>) {
        self.writer();
        if let Some(writer) = self.writer.take() {
            writer.finish(State::new(table, watcher));
        }
    }

    fn writer(&mut self) -> Option<&Writer> {
        let file = self.file.clone()?;
        Some(self.writer.get_or_insert_with(|| Writer::start(file)))
    }
}

impl State {
    fn new(table: &SocketTable, watcher: &Watcher<'_>) -> Self {
        let long_ago = monotonic_ns().saturating_sub(OLD_NS);
        let mut sockets: Vec<_> = table.pasts(long_ago).collect();
        if sockets.len() > MOST {
            sockets.select_nth_unstable_by_key(MOST, |past| past.born_ns);
            sockets.truncate(MOST);
        }
        Self {
            version: VERSION,
            boot: boot().unwrap_or_default(),
            sockets,
            findings: watcher.to_remember(),
        }
    }
}

/// The thread that writes.
struct Writer {
    states: SyncSender<State>,
    /// There may be none for it.
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(file: PathBuf) -> Self {
        // Nothing waits in between: what is handed over is written now.
        let (states, asked) = sync_channel(0);
        let thread = thread::Builder::new().name("memory".to_owned());
        let thread = thread.spawn(move || {
            privileges::keep(privileges::MEMORY);
            privileges::confine(&Files::default().writing(folders(&file)));
            // It could not be written, and that has been told.
            let mut told = false;
            for state in asked {
                let written = write(&file, &state);
                if let (Err(error), false) = (&written, told) {
                    warn!(
                        %error,
                        file = %file.display(),
                        "ages cannot be kept: they will be forgotten when socktrace starts again"
                    );
                }
                told = written.is_err();
            }
        });
        let thread = thread
            .inspect_err(|error| warn!(%error, "ages cannot be kept"))
            .ok();
        Self { states, thread }
    }

    /// Writes it, unless another is being written; is it?
    fn offer(&self, state: State) -> bool {
        self.states.try_send(state).is_ok()
    }

    /// Writes this last one, after what is being written.
    fn finish(self, state: State) {
        let Self { states, thread } = self;
        // A thread that has panicked has said so.
        drop(states.send(state));
        drop(states);
        drop(thread.map(JoinHandle::join));
    }
}

/// Which time the machine runs, since it was started.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn read(file: &Path) -> Option<State> {
    let file = File::open(file).ok()?;
    let state: State = match serde_json::from_reader(BufReader::new(file)) {
        Ok(state) => state,
        Err(error) => {
            warn!(%error, "the state of the last run makes no sense; it is left alone");
            return None;
        }
    };
    (state.version == VERSION && Some(&state.boot) == boot().as_ref()).then_some(state)
}

/// Whole or not at all: a full disk leaves the old one.
fn write(file: &Path, state: &State) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut out = BufWriter::new(File::create(&beside)?);
    let written = serde_json::to_writer(&mut out, state).map_err(io::Error::from);
    let written = written.and_then(|()| out.flush());
    match written.and_then(|()| fs::rename(&beside, file)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // What is half written is of no use, and takes room.
            fs::remove_file(&beside).unwrap_or_default();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Duration};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn state(cookie: u64) -> State {
        let past = Past {
            cookie,
            born_ns: 1,
            state: 1,
            since_ns: 2,
        };
        State {
            version: VERSION,
            boot: boot().unwrap(),
            sockets: vec![past],
            findings: Vec::new(),
        }
    }

    fn until(mut done: impl FnMut() -> bool) {
        while !done() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_last_state_is_there_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let writer = Writer::start(file.clone());
        until(|| writer.offer(state(1)));
        writer.finish(state(2));
        assert_eq!(read(&file).unwrap().sockets[0].cookie, 2);
    }

    #[test]
    fn a_disk_that_takes_long_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        // Whoever opens it waits for a reader.
        let slow = file.with_extension("new");
        mknodat(CWD, &slow, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let writer = Writer::start(file);
        until(|| writer.offer(state(1)));
        assert!(!writer.offer(state(2)));
        let mut text = String::new();
        File::open(&slow)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let written: State = serde_json::from_str(&text).unwrap();
        assert_eq!(written.sockets[0].cookie, 1);
        until(|| writer.offer(state(3)));
    }
}
