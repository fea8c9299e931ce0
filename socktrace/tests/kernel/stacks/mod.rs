//! Where sockets were opened: C programs with frame pointers and without, and what is told of them.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use socktrace::{
    decode::decode,
    event::Event,
    probe::{Plan, Probes, Stacks},
    process::Process,
    source::snapshot::Protocol,
    stack::{Opening, Places},
    table::{Call, Opened, SocketTable},
};
use socktrace_common::stack::{NoStack, Stack};
use tempfile::TempDir;

use crate::{
    support::{Dialogue, Netns, run, socktrace},
    uring::possible,
    uring_program,
};

/// The program that opens, and how it was compiled.
struct Opener {
    dialogue: Dialogue,
    pid: u32,
    /// Removed with the program in it.
    _folder: TempDir,
}

impl Opener {
    fn new(netns: &Netns, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let program = folder.path().join("opener");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/stacks/opener.c");
        let mut compiler = Command::new("cc");
        compiler.args(flags).args([source, "-pthread", "-o"]);
        run(compiler.arg(&program));
        let mut dialogue = Dialogue::start(netns.command(program.to_str().unwrap()));
        let pid = dialogue.hear("ready").parse().unwrap();
        Self {
            dialogue,
            pid,
            _folder: folder,
        }
    }

    fn does(&mut self, what: &str) {
        self.dialogue.say(what);
        self.dialogue.hear("done");
    }
}

const WITH_FRAMES: &[&str] = &["-g", "-O1", "-fno-omit-frame-pointer"];
const WITHOUT: &[&str] = &["-O2", "-fomit-frame-pointer"];

/// What was kept while a program did something.
struct Kept {
    table: SocketTable,
    stacks: Stacks,
    pid: u32,
}

impl Kept {
    /// Attached before, detached afterwards, with room for so many stacks.
    fn while_it(opener: &mut Opener, room: u32, does: &[&str]) -> Self {
        let pid = opener.pid;
        Self::while_(pid, Some(vec![pid]), room, || {
            for what in does {
                opener.does(what);
            }
        })
    }

    /// The same while somebody does something, where one process's stacks are kept and only what
    /// `pids` do is told, so that nobody else fills the ring.
    fn while_(pid: u32, pids: Option<Vec<u32>>, room: u32, does: impl FnOnce()) -> Self {
        let plan = Plan {
            stacks: room,
            stacks_of: vec![pid],
            pids,
            ..Plan::everything(&[Protocol::Tcp], 1 << 25)
        };
        let mut probes = Probes::attach(&plan).unwrap();
        let mut ring = probes.take_ring().unwrap();
        let stacks = probes.take_stacks().unwrap();
        does();
        probes.detach();
        let mut table = SocketTable::default();
        while let Some(record) = ring.next() {
            let event: Event = decode(&record).unwrap();
            table.apply(&event, &mut Vec::new());
        }
        let counters = probes.counters().unwrap();
        assert!(counters.balanced(), "{counters:?}");
        assert_eq!(counters.lost_ring + counters.lost_map, 0, "{counters:?}");
        Self { table, stacks, pid }
    }

    fn opened(&self) -> Vec<(Opened, u64)> {
        let own = self
            .table
            .iter()
            .filter(|it| it.owner().is_some_and(|it| it.pid == self.pid));
        let mut opened: Vec<_> = own.map(|it| it.opened()).collect();
        opened.sort_unstable();
        let same = opened.chunk_by(PartialEq::eq);
        same.map(|same| (same[0], same.len() as u64)).collect()
    }

    fn look_up(&self) -> Vec<Opening> {
        let mut places = Places::new(|key| self.stacks.get(key));
        places.look_up(&self.opened(), Some(&Process::new(self.pid)))
    }
}

/// The only place that this function opened, or had opened, sockets in; which call of the stack it is.
#[track_caller]
fn by<'a>(openings: &'a [Opening], function: &str) -> (&'a Opening, usize) {
    let depth = |opening: &'a Opening| {
        let is = |name: &Option<String>| name.as_deref() == Some(function);
        Some((
            opening,
            opening.frames.iter().position(|frame| is(&frame.symbol))?,
        ))
    };
    let found: Vec<_> = openings.iter().filter_map(depth).collect();
    assert_eq!(found.len(), 1, "{function} in {openings:#?}");
    found[0]
}

#[test]
fn each_function_is_named_with_what_it_opened() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITH_FRAMES);
    // With a second thread calls that may be cancelled have frames of their own in libc.
    let does = [
        "here 7", "there 3", "forget 4", "connect", "thread", "here 2",
    ];
    let kept = Kept::while_it(&mut opener, 64, &does);
    let all = kept.look_up();
    let (mut before, mut here) = (Vec::new(), Vec::new());
    for opening in &all {
        let names = opening.frames.iter().map(|frame| frame.symbol.as_deref());
        if names.clone().any(|name| name == Some("leak_here")) {
            here.push(opening.clone());
        } else {
            before.push(opening.clone());
        }
    }
    // The same function, from two places in libc.
    assert_eq!(here.iter().map(|it| it.count).sum::<u64>(), 9, "{all:#?}");
    for (function, count, call) in [
        ("leak_there", 3, Call::Accept),
        ("forget", 4, Call::Socket),
        ("reconnect", 1, Call::Connect),
    ] {
        let (opening, depth) = by(&before, function);
        assert_eq!((opening.count, opening.call), (count, call), "{opening:#?}");
        here.push(opening.clone());
        assert_eq!(depth, 1, "{opening:#?}");
    }
    for opening in &here {
        // libc, the function, main, libc: to where the program begins.
        assert_eq!(opening.note, None, "{opening:#?}");
        let [libc, function, main, ..] = &opening.frames[..] else {
            panic!("{opening:#?}");
        };
        assert_eq!(main.symbol.as_deref(), Some("main"), "{opening:#?}");
        assert!(
            libc.module.as_deref().unwrap().contains("libc"),
            "{opening:#?}"
        );
        for frame in [function, main] {
            assert_eq!(frame.module_name(), Some("opener"), "{frame:?}");
            assert!(
                frame.file.as_deref().unwrap().ends_with("opener.c"),
                "{frame:?}"
            );
            assert!(frame.line.is_some() && frame.offset.is_some(), "{frame:?}");
        }
    }
    let source = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/kernel/stacks/opener.c"
    ));
    let source = source.unwrap();
    let (there, _) = by(&all, "leak_there");
    let line = source
        .lines()
        .position(|line| line.contains("accept4("))
        .unwrap()
        + 1;
    assert_eq!(there.frames[1].line, u32::try_from(line).ok());
}

#[test]
fn without_frame_pointers_the_caller_is_named_and_the_rest_is_said_to_be_missing() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITHOUT);
    let kept = Kept::while_it(&mut opener, 64, &["here 5", "forget 2"]);
    let all = kept.look_up();
    for (function, count) in [("leak_here", 5), ("forget", 2)] {
        let (opening, depth) = by(&all, function);
        assert_eq!((opening.count, depth), (count, 1), "{opening:#?}");
        let note = opening.note.as_deref().unwrap_or_default();
        let missing = note.starts_with("frame pointers are missing: the stack ends after ");
        assert!(missing, "{opening:#?}");
        // What the program keeps in the register is no call.
        let known = |frame: &socktrace::stack::Frame| frame.module.is_some();
        assert!(opening.frames.iter().all(known), "{opening:#?}");
    }
}

#[test]
fn what_finds_no_room_or_has_nobody_left_is_said() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITH_FRAMES);
    let kept = Kept::while_it(&mut opener, 1, &["forget 3", "here 6", "leave"]);
    let all = kept.look_up();
    let [gone, full] = &all[..] else {
        panic!("{all:#?}")
    };
    assert_eq!(gone.count, 3);
    assert_eq!(
        gone.note.as_deref(),
        Some("the process is gone: addresses only")
    );
    assert!(gone.frames.len() >= 3, "{gone:#?}");
    assert!(gone.frames.iter().all(|frame| frame.symbol.is_none()));
    assert_eq!(full.count, 6);
    let note = "there was no room for their stacks (--max-stacks)";
    assert_eq!((full.frames.len(), full.note.as_deref()), (0, Some(note)));
}

#[test]
fn who_is_not_asked_about_has_no_stack() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITH_FRAMES);
    let mut other = Opener::new(&netns, WITH_FRAMES);
    let mut kept = Kept::while_(opener.pid, None, 64, || {
        opener.does("forget 2");
        other.does("forget 3");
    });
    assert_eq!(by(&kept.look_up(), "forget").0.count, 2);
    kept.pid = other.pid;
    assert_eq!(kept.opened(), [(Opened::default(), 3)]);
    // Off, nothing is kept of anybody.
    let off = Kept::while_it(&mut opener, 0, &["forget 2"]);
    let opened = off.opened();
    assert_eq!(opened, [(Opened::default(), 2)]);
}

#[test]
fn what_io_uring_opens_says_that_there_was_no_call() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let plan = Plan {
        stacks: 64,
        ..Plan::everything(&[Protocol::Tcp], 1 << 22)
    };
    let mut probes = Probes::attach(&plan).unwrap();
    let mut ring = probes.take_ring().unwrap();
    let mut program = netns.command("env");
    uring_program::add_to(&mut program, "life by ring").stdout(Stdio::null());
    let mut program = program.spawn().unwrap();
    let number = netns.number();
    let mut stacks = Vec::new();
    let mut drain = || {
        while let Some(record) = ring.next() {
            let (header, socket) = match decode(&record).unwrap() {
                Event::Socket(event) => (event.header, event.socket),
                Event::Accept(event) => (event.header, event.socket),
                _ => continue,
            };
            if socket.netns == number {
                stacks.push(NoStack::from_number(header.stack));
            }
        }
    };
    // Others may do much meanwhile.
    while program.try_wait().unwrap().is_none() {
        drain();
        thread::sleep(Duration::from_millis(5));
    }
    drain();
    assert!(program.wait().unwrap().success());
    assert!(!stacks.is_empty());
    assert!(
        stacks.iter().all(|it| *it == Some(NoStack::Ring)),
        "{stacks:?}"
    );
}

/// A program leaks while `leaks` watches for so many seconds; what is found of that.
fn leaks(netns: &Netns, opener: &mut Opener, seconds: u32, options: &[&str]) -> Vec<Value> {
    let mut command = Command::new(socktrace());
    command.args(["leaks", "--netns", netns.name(), "-o", "json", "--duration"]);
    command
        .arg(format!("{seconds}s"))
        .args(options)
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        opener.does("here 2");
        opener.does("there");
        // Descriptors are not without end.
        thread::sleep(Duration::from_millis(500));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    rows.filter(|row| row["pid"] == opener.pid).collect()
}

#[test]
fn leaks_says_where_when_asked() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITH_FRAMES);
    opener.does("here 5");
    let pid = opener.pid.to_string();
    // On a busy machine looks are far apart, and the last one may be the first.
    let row = [8, 30, 60].into_iter().find_map(|seconds| {
        let rows = leaks(&netns, &mut opener, seconds, &["--stacks", "-p", &pid]);
        let row = rows.into_iter().find(|row| row["kind"] == "close_wait")?;
        (row["stacks"].as_array().unwrap().len() > 2).then_some(row)
    });
    let row = row.expect("places with names");
    let stacks = row["stacks"].as_array().unwrap();
    let count = |stack: &Value| stack["count"].as_u64().unwrap();
    let all: u64 = stacks.iter().map(count).sum();
    assert_eq!(row["count"], all, "{row:#}");
    let by = |function: &str| -> u64 {
        let has = |stack: &&Value| {
            let frames = stack["frames"].as_array().unwrap();
            frames.iter().any(|frame| frame["symbol"] == function)
        };
        stacks.iter().filter(has).map(count).sum()
    };
    let (here, there) = (by("leak_here"), by("leak_there"));
    assert!(here > 0 && there > 0, "{row:#}");
    // It was attached, and looked, in the middle of a round.
    assert!(here.abs_diff(2 * there) <= 4, "{row:#}");
    let last = stacks.last().unwrap();
    assert_eq!(last["note"], "opened before the watch began", "{row:#}");
    assert!(count(last) >= 5 && last["frames"] == Value::Array(Vec::new()));
    assert!(count(&stacks[0]) >= count(&stacks[1]), "{row:#}");
    let frame = &stacks[0]["frames"][0];
    let keys = |it: &Value| it.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut keys = [keys(&stacks[0]), keys(frame)].concat();
    let document = include_str!("../../../../docs/stacks.md");
    let cells = document.lines().filter_map(|line| line.strip_prefix("| `"));
    // Those of the table of costs are calls.
    let cells = cells
        .filter_map(|row| row.split(" | ").next())
        .filter(|cell| !cell.contains('('));
    let mut documented: Vec<_> = cells
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`'))
        .collect();
    keys.sort_unstable();
    documented.sort_unstable();
    assert_eq!(keys, documented);
    assert!(
        frame["address"].as_str().unwrap().starts_with("0x"),
        "{frame}"
    );
}

#[test]
fn without_being_asked_it_has_no_room_for_stacks_and_no_key() {
    let netns = Netns::new();
    let mut opener = Opener::new(&netns, WITH_FRAMES);
    let rows = leaks(&netns, &mut opener, 5, &[]);
    assert!(!rows.is_empty());
    let silent = |row: &Value| row.get("stacks").is_none();
    assert!(rows.iter().all(silent), "{rows:#?}");
    for (options, room) in [(&[][..], 1), (&["--stacks", "--max-stacks", "64"], 64)] {
        let mut command = Command::new(socktrace());
        command.args(["leaks", "--netns", netns.name(), "--duration", "2s"]);
        let mut child = command.args(options).stdout(Stdio::null()).spawn().unwrap();
        assert_eq!(room_for_stacks(&mut child), room);
    }
}

/// How many stacks there is room for in the largest map of stacks that a process has until it ends:
/// such a map is known by what one takes.
fn room_for_stacks(child: &mut Child) -> u64 {
    let size = size_of::<Stack>().to_string();
    let folder = format!("/proc/{}/fdinfo", child.id());
    let mut room = 0;
    while child.try_wait().unwrap().is_none() {
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        for file in files {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let field = |name: &str| {
                let mut lines = text.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            // BPF_MAP_TYPE_HASH: the scratch of each CPU is an array.
            if field("value_size:") == Some(&size) && field("map_type:") == Some("1") {
                room = room.max(field("max_entries:").unwrap().parse().unwrap());
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    room
}
