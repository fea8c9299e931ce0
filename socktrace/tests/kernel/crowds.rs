//! More than there is room for in the kernel side's maps, each of it counted: followed listeners, processes
//! and sockets.

use std::process::Command;

use tempfile::TempDir;

use crate::{
    loss::number,
    support::{Netns, Row, rows, run, socktrace},
    uring,
};

/// More listeners of a followed process than are followed at a time, all gone again, and then a few more.
const LISTENERS: &str = "
import resource, socket
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
def listening(count):
    made = [socket.socket() for _ in range(count)]
    for s in made: s.bind(('127.0.0.1', 0)); s.listen()
    return made
for s in listening(4096 + 100): s.close()
for s in listening(50): s.close()
";

#[test]
fn a_full_map_of_listeners_is_counted_until_there_is_room_again() {
    let netns = Netns::new();
    let output = netns
        .command(socktrace().to_str().unwrap())
        .args(["trace", "-o", "json", "--reconcile", "1h", "--", "python3"])
        .args(["-c", LISTENERS])
        .output()
        .unwrap();
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{summary}");
    assert_eq!(number(&summary, "+ lost"), 100, "{summary}");
    assert!(summary.contains("100 kernel map full"), "{summary}");
    let rows = rows(&String::from_utf8(output.stdout).unwrap());
    // The sockets are followed, all of them; the calls that found no room are those that are lost.
    let told = |event, new: Option<&str>| {
        let these = |row: &&Row| {
            row.text("event") == Some(event) && (new.is_none() || row.text("new") == new)
        };
        rows.iter().filter(these).count()
    };
    assert_eq!(told("listen", None), 4096 + 50);
    assert_eq!(told("state", Some("listen")), 4096 + 100 + 50);
}

/// Follows a program and what it starts: how many sockets were made, how many calls found no room in a map, and the summary.
/// Nothing is lost on the way.
fn followed(netns: &Netns, program: &[&str]) -> (usize, u64, String) {
    let output = netns
        .command(socktrace().to_str().unwrap())
        .args(["trace", "-o", "json", "--reconcile", "1h", "--proto", "all"])
        .args(["--ring-size", "65536", "--event", "socket", "--"])
        .args(program)
        .output()
        .unwrap();
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{summary}");
    let lost = number(&summary, "+ lost");
    assert!(
        summary.contains(&format!("{lost} kernel map full")),
        "{summary}"
    );
    let rows = rows(&String::from_utf8(output.stdout).unwrap());
    let made = rows
        .iter()
        .filter(|row| row.text("event") == Some("socket"))
        .count();
    (made, lost, summary)
}

#[test]
fn children_that_there_is_no_room_to_follow_are_counted() {
    const ROOM: usize = 16_384;
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("crowd");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/crowd.c");
    run(Command::new("cc").args([source, "-o"]).arg(&program));
    let netns = Netns::new();
    // One place is the program's own.
    let (first, then) = (ROOM - 1 + 100, 50);
    let counts = [first.to_string(), then.to_string()];
    let program = program.to_str().unwrap();
    let (made, lost, summary) = followed(&netns, &[program, &counts[0], &counts[1]]);
    assert_eq!(lost, 100, "{summary}");
    // Each makes a socket. When the first have ended there is room again.
    assert_eq!(made, ROOM - 1 + then, "{summary}");
}

/// So many sockets in each of so many processes, all open at once.
const SOCKETS: &str = "
import os, resource, socket, sys
each, processes = int(sys.argv[1]), int(sys.argv[2])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
done, tell = os.pipe()
stay, end = os.pipe()
for _ in range(processes):
    if os.fork() == 0:
        os.close(end)
        all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(each)]
        os.write(tell, b'.'); os.read(stay, 1); os._exit(0)
for _ in range(processes): os.read(done, 1)
os.close(end)
for _ in range(processes): os.wait()
";

#[test]
fn sockets_that_there_is_no_room_to_follow_are_counted() {
    const ROOM: usize = 131_072;
    let netns = Netns::new();
    let (each, processes) = ("16400", "8");
    let (made, lost, summary) = followed(&netns, &["python3", "-c", SOCKETS, each, processes]);
    assert_eq!(lost, 16_400 * 8 - ROOM as u64, "{summary}");
    assert_eq!(made, ROOM, "{summary}");
}

#[test]
fn multishot_accepts_that_there_is_no_room_to_remember_are_counted() {
    if !uring::possible() {
        return;
    }
    let output = uring::output(&Netns::new(), "many multishots", &[]);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{summary}");
    // None for the last of them: those before were taken back.
    assert_eq!(number(&summary, "+ lost"), 50, "{summary}");
    assert!(summary.contains("50 kernel map full"), "{summary}");
}
