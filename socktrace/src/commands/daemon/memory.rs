//! What must not be forgotten when the daemon starts again: since when sockets are as they are, and
//! since when there is a finding. The kernel tells of neither.
//!
//! Cookies and pids mean the same until the machine starts again, which its boot identifier says.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    clock::monotonic_ns,
    commands::watch::Watcher,
    detect::Remembered,
    pipeline::Pipeline,
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
    kept_ns: u64,
    /// It could not be written, and that has been told.
    told: bool,
}

impl Memory {
    /// In this directory, if there is one.
    pub(super) fn open(directory: Option<&Path>) -> Self {
        Self {
            file: directory.map(|it| it.join("state.json")),
            kept_ns: monotonic_ns(),
            told: false,
        }
    }

    /// Takes over what was known before, of what is still there.
    pub(super) fn recall(&mut self, pipeline: &mut Pipeline, watcher: &mut Watcher<'_>) {
        let Some(state) = self.file.as_deref().and_then(read) else {
            return;
        };
        let table = pipeline.table_mut();
        let known = state
            .sockets
            .iter()
            .filter(|past| table.remember(past))
            .count();
        info!(
            sockets = known,
            findings = state.findings.len(),
            "the state of the last run was read"
        );
        watcher.standing().remember(state.findings);
    }

    /// Writes it, if it was not written for long.
    pub(super) fn keep(&mut self, table: &SocketTable, watcher: &mut Watcher<'_>) {
        if monotonic_ns().saturating_sub(self.kept_ns) >= EVERY_NS {
            self.keep_now(table, watcher);
        }
    }

    /// Writes it.
    pub(super) fn keep_now(&mut self, table: &SocketTable, watcher: &mut Watcher<'_>) {
        let Some(file) = &self.file else { return };
        let now = monotonic_ns();
        self.kept_ns = now;
        let mut sockets: Vec<_> = table.pasts(now.saturating_sub(OLD_NS)).collect();
        if sockets.len() > MOST {
            sockets.select_nth_unstable_by_key(MOST, |past| past.born_ns);
            sockets.truncate(MOST);
        }
        let state = State {
            version: VERSION,
            boot: boot().unwrap_or_default(),
            sockets,
            findings: watcher.standing().to_remember(),
        };
        match write(file, &state) {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                warn!(
                    %error,
                    file = %file.display(),
                    "ages cannot be kept: they will be forgotten when socktrace starts again"
                );
                self.told = true;
            }
            Err(_) => {}
        }
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
