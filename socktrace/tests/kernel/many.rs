//! Very many namespaces and descriptors. Some of it needs a machine of its own (`cargo xtask vm`).

use std::{collections::BTreeSet, process::Command};

use crate::support::{Dialogue, Netns, Row, is_our_machine, python, rows, run, socktrace};

/// Goes from namespace to namespace, each its own, and leaves a socket in each.
const NAMESPACES: &str = "
import ctypes, resource
libc = ctypes.CDLL(None, use_errno=True)
count = int(sys.argv[1])
most = max(count + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
kept = []
for i in range(count):
    if libc.unshare(0x40000000): raise OSError(ctypes.get_errno(), 'unshare')
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 1000)); kept.append(s)
print('ready', os.getpid(), flush=True)
sys.stdin.readline(); os._exit(0)
";

/// A process with sockets in so many namespaces, until it is dropped; its pid.
fn spread(netns: &Netns, count: usize) -> (Dialogue, String) {
    let mut command = python(netns, NAMESPACES);
    command.arg(count.to_string());
    let mut dialogue = Dialogue::start(command);
    let pid = dialogue.hear("ready");
    (dialogue, pid)
}

/// The sockets of a process as `sockets` lists them with these limits, and what it says of others.
fn listed(pid: &str, soft: u32, hard: u32) -> (Vec<Row>, String) {
    let output = Command::new("prlimit")
        .arg(format!("--nofile={soft}:{hard}"))
        .arg(socktrace())
        .args(["sockets", "-o", "json", "-p", pid])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (rows(&String::from_utf8(output.stdout).unwrap()), said)
}

/// In how many namespaces there is such a socket.
fn bound(rows: &[Row]) -> usize {
    let bound = rows.iter().filter(|row| row.number("lport") == Some(1000));
    let netns: BTreeSet<_> = bound.map(|row| row.number("netns")).collect();
    netns.len()
}

#[test]
fn namespaces_that_there_are_no_descriptors_for_are_told_of() {
    let netns = Netns::new();
    let (_spread, pid) = spread(&netns, 40);
    let (rows, said) = listed(&pid, 100, 100);
    assert!(said.contains("there are descriptors for 9"), "{said}");
    assert!(said.lines().count() < 10, "{said}");
    assert!(bound(&rows) < 10, "{}", rows.len());
    // What a shell grants is not all that there is.
    let (rows, said) = listed(&pid, 100, 2000);
    assert_eq!(bound(&rows), 40, "{said}");
}

#[test]
fn a_program_that_is_traced_has_the_limit_that_it_would_have() {
    let mut command = Command::new("prlimit");
    command.arg("--nofile=300:2000").arg(socktrace());
    command.args(["trace", "-o", "json", "--", "sh", "-c"]);
    let said = run(command.arg("ulimit -n; ulimit -Hn"));
    assert_eq!(said.lines().collect::<Vec<_>>(), ["300", "2000"]);
}

#[test]
fn in_ten_thousand_namespaces_every_socket_is_found_and_a_limit_is_told() {
    // What its unit grants the daemon is enough for all of them. Each takes memory of the kernel.
    let (count, hard) = if is_our_machine() {
        (10_000, 65_536)
    } else {
        (300, 20_000)
    };
    let netns = Netns::new();
    let (_spread, pid) = spread(&netns, count);
    let (rows, said) = listed(&pid, 1024, hard);
    assert_eq!((bound(&rows), rows.len()), (count, count), "{said}");
    assert!(!said.contains("descriptors for"), "{said}");
    // With a limit that is too low the oldest are looked into, and the rest is a number.
    let (rows, said) = listed(&pid, 1024, 1024);
    assert!(said.contains("there are descriptors for 192"), "{said}");
    assert!((1..=192).contains(&bound(&rows)), "{}", rows.len());
}

/// So many sockets, in so many processes.
const DESCRIPTORS: &str = "
import resource
count, processes = int(sys.argv[1]), int(sys.argv[2])
each = count // processes
most = max(each + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
done, tell = os.pipe(); stay, end = os.pipe()
for _ in range(processes):
    if os.fork() == 0:
        os.close(end)
        all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(each)]
        all[0].bind(('127.0.0.1', 0))
        os.write(tell, b'.'); os.read(stay, 1); os._exit(0)
for _ in range(processes): os.read(done, 1)
print('ready', flush=True)
sys.stdin.readline(); os._exit(0)
";

#[test]
fn a_hundred_thousand_descriptors_are_found_each_once() {
    const COUNT: usize = 100_000;
    // In one process, where the limit can be raised that far.
    let processes = if is_our_machine() { 1 } else { 8 };
    let netns = Netns::new();
    let mut command = python(&netns, DESCRIPTORS);
    command.args([COUNT.to_string(), processes.to_string()]);
    let mut crowd = Dialogue::start(command);
    crowd.hear("ready");
    let mut list = Command::new(socktrace());
    list.args(["sockets", "-o", "json", "--netns", netns.name()]);
    let told = rows(&run(&mut list));
    // But for what the kernel has there for itself.
    let told: Vec<_> = told
        .iter()
        .filter(|row| row.text("proto") == Some("udp"))
        .collect();
    let held: BTreeSet<_> = told.iter().flat_map(|row| row.holders()).collect();
    let pids: BTreeSet<_> = held.iter().map(|it| it.0).collect();
    assert_eq!(
        (told.len(), held.len(), pids.len()),
        (COUNT, COUNT, processes)
    );
    // And how many they have is told.
    let mut limits = Command::new(socktrace());
    limits.args(["limits", "-o", "json"]);
    let told = rows(&run(&mut limits));
    let of_them = |row: &&Row| row.number("pid").is_some_and(|pid| pids.contains(&pid));
    let used: i64 = told
        .iter()
        .filter(of_them)
        .filter_map(|row| row.number("used"))
        .max()
        .unwrap_or_default();
    assert!(used >= i64::try_from(COUNT / processes).unwrap(), "{used}");
}
