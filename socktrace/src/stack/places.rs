//! Looks up where sockets were opened.

use std::{fs, rc::Rc};

use hashbrown::HashMap;
use socktrace_common::stack::{NoStack, STACK_FRAMES, Stack};

use super::{
    Opening, maps::Maps, opening::reach_the_beginning, symbols::Symbols, walk::walk, wrapper,
};
use crate::{
    process::{Process, attribution::Attribution, proc_is_ours},
    table::{Call, Opened, Place},
};

/// No more places than this are looked up for one finding: nobody reads more.
const MOST: usize = 100;

/// What is not known of processes that are gone, and the like.
type Unknown = &'static str;

/// Looks up places, and remembers what it has read of processes.
pub struct Places<F> {
    stack: F,
    symbols: Symbols,
    processes: HashMap<u32, Result<Rc<Maps>, Unknown>>,
    /// See [`wrapper::slot`]: by process and address.
    slots: HashMap<(u32, u64), Option<usize>>,
    /// Frames of a stack that the kernel keeps at most.
    most: usize,
}

impl<F: Fn(u32) -> Option<Stack>> Places<F> {
    /// `stack`: what the kernel side kept under a key.
    pub fn new(stack: F) -> Self {
        Self {
            stack,
            symbols: Symbols::new(),
            processes: HashMap::new(),
            slots: HashMap::new(),
            most: most_frames(),
        }
    }

    /// The places where a process opened sockets, most sockets first; what is not known comes last.
    pub fn look_up(&mut self, opened: &[(Opened, u64)], process: Option<&Process>) -> Vec<Opening> {
        let mut opened = opened.to_vec();
        opened.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let beyond = opened.split_off(opened.len().min(MOST));
        let mut openings: Vec<Opening> = Vec::new();
        for (opened, count) in opened {
            let opening = self.place(opened, count, process);
            match openings.iter_mut().find(|it| it.is_at(&opening)) {
                Some(same) => same.count += count,
                None => openings.push(opening),
            }
        }
        openings.sort_by_key(|it| (it.frames.is_empty(), std::cmp::Reverse(it.count)));
        if !beyond.is_empty() {
            let count = beyond.iter().map(|(_, count)| count).sum();
            let note = format!("in {} other places", beyond.len());
            openings.push(Opening::unknown(count, Call::Unseen, note));
        }
        openings
    }

    fn place(&mut self, opened: Opened, count: u64, process: Option<&Process>) -> Opening {
        let key = match opened.place() {
            Place::Stack(key) => key,
            Place::Unseen => {
                return Opening::unknown(count, opened.call, "opened before the watch began");
            }
            Place::FormerProgram => {
                let note = "opened by a program that the process ran before";
                return Opening::unknown(count, opened.call, note);
            }
            Place::Missing(reason) => {
                return Opening::unknown(count, opened.call, why(reason));
            }
        };
        let Some(stack) = (self.stack)(key) else {
            return Opening::unknown(count, opened.call, "their stack was not kept");
        };
        let (frames, note) = match process {
            Some(process) => self.frames(&stack, process),
            None => self.addresses(&stack, "whose they were is not known: addresses only"),
        };
        Opening {
            count,
            call: opened.call,
            frames,
            note,
        }
    }

    fn frames(&mut self, stack: &Stack, process: &Process) -> (Vec<super::Frame>, Option<String>) {
        let pid = process.pid;
        let maps = self.processes.entry(pid).or_insert_with(|| maps(process));
        let maps = match maps {
            Ok(maps) => Rc::clone(maps),
            Err(unknown) => {
                let unknown = *unknown;
                return self.addresses(stack, unknown);
            }
        };
        let first = stack.frames[0];
        let slot = self.slots.entry((pid, first)).or_insert_with(|| {
            maps.of(first)
                .and_then(|mapping| wrapper::slot(mapping, pid, first))
        });
        // Of a call the last byte is before where it returns to.
        let is_code = |address: u64| maps.of(address.wrapping_sub(1)).is_some();
        let walked = walk(stack, *slot, self.most, is_code);
        let frames = self.symbols.frames(pid, &maps, &walked.addresses);
        let note = if reach_the_beginning(&frames) {
            None
        } else if walked.full {
            Some(format!("the stack is deeper than {} frames", frames.len()))
        } else {
            let s = if frames.len() == 1 { "" } else { "s" };
            Some(format!(
                "frame pointers are missing: the stack ends after {} frame{s}",
                frames.len()
            ))
        };
        (frames, note)
    }

    /// What can be said without the process.
    fn addresses(&self, stack: &Stack, note: Unknown) -> (Vec<super::Frame>, Option<String>) {
        let walked = walk(stack, None, self.most, |address| address != 0);
        let frames = walked.addresses.into_iter().map(super::Frame::at);
        (frames.collect(), Some(note.to_owned()))
    }
}

/// What the process executes, unless another has its number by now.
fn maps(process: &Process) -> Result<Rc<Maps>, Unknown> {
    const GONE: Unknown = "the process is gone: addresses only";
    if !proc_is_ours() {
        return Err("/proc is that of another pid namespace: addresses only");
    }
    let maps = Maps::read(process.pid).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "its memory map cannot be read (CAP_SYS_PTRACE): addresses only"
        }
        _ => GONE,
    })?;
    // Asked afterwards: then it was still there when the map was read.
    let started = Attribution::read(process.pid).started;
    match started {
        Some(started) if process.may_have(started) => Ok(Rc::new(maps)),
        _ => Err(GONE),
    }
}

fn why(reason: NoStack) -> Unknown {
    match reason {
        NoStack::Unreadable => "the kernel could not read their stacks",
        NoStack::Full => "there was no room for their stacks (--max-stacks)",
        NoStack::Collision => "their stacks have the number of another one",
        NoStack::Ring => "opened through io_uring: no call, no stack",
    }
}

/// The kernel walks no further than this, and neither do we.
fn most_frames() -> usize {
    let text = fs::read_to_string("/proc/sys/kernel/perf_event_max_stack");
    let most = text.ok().and_then(|text| text.trim().parse().ok());
    most.unwrap_or(STACK_FRAMES).min(STACK_FRAMES)
}
