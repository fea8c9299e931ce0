//! Addresses of a process get the names of functions.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use blazesym::{
    Pid,
    symbolize::{
        Input, Sym, Symbolized, Symbolizer,
        source::{Process, Source},
    },
};

use super::{Frame, maps::Maps};
use crate::process::attribution::Attribution;

/// Looks names up, and remembers the files that it has read.
pub(super) struct Symbols(Symbolizer);

impl Symbols {
    pub(super) fn new() -> Self {
        // Files that change while we look are no use.
        let builder = Symbolizer::builder().enable_auto_reload(false);
        Self(builder.enable_inlined_fns(false).build())
    }

    /// A frame for each address of a process. What has no name is shown by its address and file.
    pub(super) fn frames(&self, pid: u32, maps: &Maps, addresses: &[u64]) -> Vec<Frame> {
        // A return address may be the first of the next function: the call is before it.
        let asked: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| address - u64::from(index > 0))
            .collect();
        let found = self.ask(pid, &asked);
        let frame = |(index, &address): (usize, &u64)| {
            let mut frame = Frame {
                module: maps.of(asked[index]).and_then(|it| it.path.clone()),
                ..Frame::at(address)
            };
            if let Some(Symbolized::Sym(sym)) = found.get(index) {
                frame.name(sym, address - asked[index]);
            }
            frame
        };
        addresses.iter().enumerate().map(frame).collect()
    }

    fn ask(&self, pid: u32, addresses: &[u64]) -> Vec<Symbolized<'_>> {
        let mut source = Process::new(Pid::from(pid));
        source.perf_map = has_perf_map(pid);
        let ask = || {
            let source = Source::Process(source.clone());
            // The files are the traced process's: whatever is in them, the report is written.
            let found = catch_unwind(AssertUnwindSafe(|| {
                self.0.symbolize(&source, Input::AbsAddr(addresses))
            }));
            found.ok().and_then(Result::ok)
        };
        ask().unwrap_or_default()
    }
}

impl Frame {
    fn name(&mut self, sym: &Sym<'_>, beyond: u64) {
        self.symbol = Some(sym.name.clone().into_owned());
        self.offset = Some(sym.offset as u64 + beyond);
        if let Some(code) = &sym.code_info {
            self.file = Some(code.to_path().to_string_lossy().into_owned());
            self.line = code.line;
        }
    }
}

/// Does a runtime that compiles as it goes say what it has compiled (`/tmp/perf-PID.map`)? Only a
/// plain file of the process's own user is read, as perf does.
fn has_perf_map(pid: u32) -> bool {
    let Ok(status) = fs::read(format!("/proc/{pid}/status")) else {
        return false;
    };
    let status = String::from_utf8_lossy(&status);
    let mut lines = status.lines();
    let numbers = lines.find_map(|line| line.strip_prefix("NStgid:"));
    // Its number as it sees it itself is the last.
    let own = numbers.and_then(|numbers| numbers.split_ascii_whitespace().last());
    let (Some(own), Some(uid)) = (own, Attribution::read(pid).uid) else {
        return false;
    };
    let file = fs::symlink_metadata(format!("/proc/{pid}/root/tmp/perf-{own}.map"));
    file.is_ok_and(|file| file.is_file() && (file.uid() == uid || file.uid() == 0))
}
