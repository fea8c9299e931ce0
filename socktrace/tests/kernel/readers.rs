//! Who reads from us, and what becomes of us: a reader that is slow, one that goes away, a disk that is
//! full, and the end that nobody can prepare for.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aya::{maps::loaded_maps, programs::loaded_programs};

use crate::{
    daemon::{Daemon, wait},
    loss::number,
    support::{Background, Netns, Row, patience, python, rows, run, socktrace},
};

/// More rows than pipes, buffers and the ring hold, and a file when they are over.
const BUSY: &str = r"
for _ in range(20_000): socket.socket().close()
open(sys.argv[1], 'w').close()
";

/// What is told of a busy program to a reader that does not read before it is over: rows, and the summary.
fn told_late(ring: &str, backlog: &str) -> (Vec<Row>, String) {
    let (netns, folder) = (Netns::new(), tempfile::tempdir().unwrap());
    let over = folder.path().join("over");
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--ring-size", ring]);
    tracer.args(["--backlog-size", backlog, "--netns", netns.name()]);
    let mut tracer = tracer
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(tracer.stderr.take().unwrap());
    let mut summary = String::new();
    while !summary.contains("Ctrl-C") {
        assert!(said.read_line(&mut summary).unwrap() > 0, "{summary}");
    }
    // The program that is watched does not wait for whoever watches.
    run(python(&netns, BUSY).arg(&over));
    assert!(over.exists());
    run(Command::new("kill").args(["-INT", &tracer.id().to_string()]));
    // What was kept comes when somebody reads, and all of the rest is counted.
    let mut told = String::new();
    let mut out = tracer.stdout.take().unwrap();
    out.read_to_string(&mut told).unwrap();
    said.read_to_string(&mut summary).unwrap();
    assert!(tracer.wait().unwrap().success(), "{summary}");
    (rows(&told), summary)
}

#[test]
fn a_reader_that_does_not_read_costs_memory_and_then_events_and_keeps_nobody_waiting() {
    let (told, summary) = told_late("1024", "1");
    let (lost, emitted) = (number(&summary, "+ lost"), number(&summary, "emitted"));
    assert!(lost > 10_000 && emitted > 5000, "{summary}");
    let counted = told.iter().filter(|row| row.text("event") == Some("lost"));
    let counted: i64 = counted.filter_map(|row| row.number("count")).sum();
    assert_eq!(u64::try_from(counted).unwrap(), lost, "{summary}");
    let sockets = told
        .iter()
        .filter(|row| row.text("event") == Some("socket"));
    assert!(sockets.count() > 2000, "{summary}");
}

#[test]
fn what_a_reader_is_too_slow_for_waits_for_it() {
    // A ring of half of what is told, so that whoever empties it has a tenth of a second to come.
    let (told, summary) = told_late("4096", "256");
    assert_eq!(number(&summary, "+ lost"), 0, "{summary}");
    for event in ["socket", "close", "end"] {
        let its = told.iter().filter(|row| row.text("event") == Some(event));
        assert!(its.count() >= 20_000, "{event}: {summary}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let netns = Netns::new();
    let mut tracer = netns.command(socktrace().to_str().unwrap());
    tracer.args(["trace", "-o", "json", "--", "python3", "-c"]);
    tracer.arg("import socket\nfor _ in range(2000): socket.socket().close()");
    let mut tracer = tracer
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(tracer.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with('{'), "{first}");
    let output = tracer.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("cannot be written"), "{said}");
}

#[test]
fn rows_that_find_no_room_on_the_disk_end_it_with_the_reason() {
    let netns = Netns::new();
    let mut tracer = netns.command(socktrace().to_str().unwrap());
    tracer.args(["trace", "-o", "csv", "--", "python3", "-c"]);
    tracer.arg("import socket\nfor _ in range(2000): socket.socket().close()");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = tracer.stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

/// What a process has in the kernel, by numbers: programs and maps.
pub(crate) fn in_the_kernel(pid: i64) -> [BTreeSet<u32>; 2] {
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        // One that was closed meanwhile is not there any more.
        let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        for line in text.lines() {
            let words = [("prog_id:", 0), ("map_id:", 1)];
            for (word, at) in words {
                if let Some(id) = line.strip_prefix(word) {
                    found[at].insert(id.trim().parse().unwrap());
                }
            }
        }
    }
    found
}

/// What of it is still there.
fn left(of: &[BTreeSet<u32>; 2]) -> (Vec<u32>, Vec<u32>) {
    // One that goes while it is asked for is gone.
    let programs = loaded_programs().filter_map(|it| Some(it.ok()?.id()));
    let maps = loaded_maps().filter_map(|it| Some(it.ok()?.id()));
    (
        programs.filter(|id| of[0].contains(id)).collect(),
        maps.filter(|id| of[1].contains(id)).collect(),
    )
}

/// The kernel takes back what nobody holds, but not at once.
#[track_caller]
fn nothing_is_left(of: &[BTreeSet<u32>; 2]) {
    let deadline = Instant::now() + patience(20);
    while left(of) != (vec![], vec![]) {
        assert!(Instant::now() < deadline, "{:?}", left(of));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn killed_it_leaves_nothing_in_the_kernel_and_the_next_one_begins_as_the_first() {
    let netns = Netns::new();
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--proto", "all"]);
    tracer.args(["--netns", netns.name()]);
    let tracer = Background::start(tracer, "Ctrl-C");
    let its = in_the_kernel(tracer.pid());
    assert!(its[0].len() > 10 && its[1].len() > 10, "{its:?}");
    let (programs, maps) = left(&its);
    assert_eq!((programs.len(), maps.len()), (its[0].len(), its[1].len()));
    tracer.kill();
    nothing_is_left(&its);
    let trace =
        netns.trace("l = listener(); c, a = pair(l); say(c=cookie(c)); c.close(); a.close()");
    let life = trace.socket("c");
    assert_eq!(life.rows.last().unwrap().text("event"), Some("end"));
    assert!(trace.stderr.contains("lost: 0"), "{}", trace.stderr);
}

#[test]
fn a_daemon_that_was_killed_starts_again_beside_what_it_left() {
    let netns = Netns::new();
    let mut daemon = Daemon::start("");
    let its = in_the_kernel(daemon.pid());
    assert!(its[0].len() > 10, "{its:?}");
    daemon.kill();
    nothing_is_left(&its);
    // Its Unix socket is still there, and nobody behind it.
    assert!(Path::new(&daemon.path("socket")).exists());
    daemon.run();
    assert!(daemon.metric("socktrace_hook_attached", &[]) > 10.0);
    run(&mut python(
        &netns,
        "open('/proc/self/comm', 'w').write('afterwards'); l = listener(); c, a = pair(l)",
    ));
    let accepted = || daemon.metric("socktrace_accepts_total", &["owner=\"afterwards\""]);
    wait("it follows", || accepted() > 0.5);
    assert!(daemon.metric("socktrace_events_lost_total", &[]) < 0.5);
}
