//! The ways in which descriptors come to be and go elsewhere: whoever holds a socket is told, as `ss`
//! and `/proc` tell it, and where nobody does the reason is.

use std::{net::TcpListener, process::Command, time::Instant};

use serde_json::json;

use crate::{
    listed::{agreed, find, sockets},
    ring::{At, Ring},
    scene::Scene,
    support::{Netns, Row, inode, patience, rows, run, socktrace},
};

/// Asserts who holds a socket, in order; the first is its owner.
#[track_caller]
fn expect_holders(row: &Row, holders: &[(i64, i64)]) {
    assert_eq!(row.holders(), holders);
    row.expect("owner", "adopted").expect("pid", holders[0].0);
    assert_eq!(row.text("class"), None);
}

/// Asserts that one process holds it, by whatever descriptor.
#[track_caller]
fn expect_owner(row: &Row, pid: i64) {
    assert!(!row.holders().is_empty(), "{row:?}");
    row.expect("owner", "adopted").expect("pid", pid);
}

/// Asserts that nobody holds it, and why.
#[track_caller]
fn expect_nobody(row: &Row, class: &str) {
    assert_eq!(row.holders(), []);
    row.expect("class", class)
        .expect("owner", "unknown")
        .expect_null("pid")
        .expect_null("comm");
}

#[test]
fn every_copy_of_a_descriptor_is_a_holder() {
    let netns = Netns::new();
    let mut scene = Scene::new(
        &netns,
        r"
import fcntl
l = listener(); fd = l.fileno()
step(pid=os.getpid(), it=cookie(l), fd=fd, dup=os.dup(fd), dup2=os.dup2(fd, 40), dup3=os.dup2(fd, 41, False),
     fcntl=fcntl.fcntl(fd, fcntl.F_DUPFD, 50), cloexec=fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 60))
l.close(); os.close(40)
step()
",
    );
    let pid = scene.number("pid");
    let holders = |names: &[&str]| -> Vec<_> {
        let mut fds: Vec<_> = names.iter().map(|name| scene.number(name)).collect();
        fds.sort_unstable();
        fds.into_iter().map(|fd| (pid, fd)).collect()
    };
    let all = holders(&["fd", "dup", "dup2", "dup3", "fcntl", "cloexec"]);
    let rest = holders(&["dup", "dup3", "fcntl", "cloexec"]);
    let cookie = scene.number("it");
    expect_holders(find(&agreed(&netns), "cookie", cookie), &all);
    scene.go();
    expect_holders(find(&agreed(&netns), "cookie", cookie), &rest);
}

#[test]
fn a_child_holds_what_its_parent_held_and_keeps_it() {
    let netns = Netns::new();
    let mut scene = Scene::new(
        &netns,
        r"
l = listener(); c, a = pair(l); go, went = os.pipe()
child = os.fork()
if child == 0: os.close(went); os.read(go, 1); os._exit(0)
step(pid=os.getpid(), child=child, it=cookie(a), fd=a.fileno())
a.close(); step()
os.close(went); os.wait(); step()
",
    );
    let cookie = scene.number("it");
    let (parent, child) = (scene.number("pid"), scene.number("child"));
    let fd = scene.number("fd");
    let rows = agreed(&netns);
    let both = [(parent, fd), (child, fd)];
    expect_holders(find(&rows, "cookie", cookie), &both);
    scene.go();
    // No FIN was sent: it lives on with the child alone.
    let rows = agreed(&netns);
    let row = find(&rows, "cookie", cookie);
    expect_holders(row.expect("state", "established"), &[(child, fd)]);
    scene.go();
    let rows = agreed(&netns);
    expect_nobody(find(&rows, "cookie", cookie), "minisock");
}

#[test]
fn what_is_inherited_through_exec_is_the_new_programs() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
import subprocess
l = listener(); fd = l.fileno(); it = cookie(l)
# Ends with its input.
child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[fd]); l.close()
ready(it=it, child=child.pid, fd=fd)
",
    );
    let rows = agreed(&netns);
    let row = find(&rows, "cookie", scene.number("it"));
    expect_holders(row, &[(scene.number("child"), scene.number("fd"))]);
    row.expect("comm", "cat");
}

#[test]
fn threads_share_what_they_hold_until_they_do_not() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
import ctypes, threading
stop = threading.Event(); both = threading.Barrier(5); own = {}
def same(): both.wait(); stop.wait()
def apart():
    own['shared'] = listener()
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
    own['apart'] = listener(); own['cookie'] = cookie(own['apart']); both.wait(); stop.wait()
for work in (same, same, same, apart): threading.Thread(target=work, daemon=True, name='worker').start()
both.wait()
ready(pid=os.getpid(), shared=cookie(own['shared']), fd=own['shared'].fileno(),
      apart=own['cookie'], own=own['apart'].fileno())
",
    );
    // Not as ss and /proc/PID/fd, which show the main thread's table alone.
    let rows = sockets(&netns, &[]);
    let pid = scene.number("pid");
    for (cookie, fd) in [("shared", "fd"), ("apart", "own")] {
        let row = find(&rows, "cookie", scene.number(cookie));
        // Once, although two tables of the process have it under this number.
        expect_holders(row, &[(pid, scene.number(fd))]);
        row.expect("comm", "python3");
    }
}

#[test]
fn in_a_message_a_socket_is_in_flight_and_then_its_receivers() {
    let netns = Netns::new();
    let mut scene = Scene::new(
        &netns,
        r"
near, far = socket.socketpair(); go, went = os.pipe()
child = os.fork()
if child == 0:
    os.close(went); near.close()
    if not os.read(go, 1): os._exit(0)
    _, [fd], *_ = socket.recv_fds(far, 1, 1)
    step(fd=fd); os._exit(0)
l = listener(); it = cookie(l)
udp = socket.socket(type=socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))
socket.send_fds(near, [b'x'], [l.fileno()]); l.close()
step(child=child, it=it)
os.write(went, b'x'); os.wait()
",
    );
    let cookie = scene.number("it");
    expect_nobody(find(&agreed(&netns), "cookie", cookie), "in flight");
    // Who asks for TCP alone is told the same.
    let rows = sockets(&netns, &["-tl"]);
    expect_nobody(find(&rows, "cookie", cookie), "in flight");
    scene.go();
    let holder = (scene.number("child"), scene.number("fd"));
    expect_holders(find(&agreed(&netns), "cookie", cookie), &[holder]);
}

#[test]
fn what_a_queue_does_not_explain_is_not_guessed() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
# One is in the queue of a socket that is in a queue itself, and cannot be asked.
inner, lost = socket.socketpair(); outer, kept = socket.socketpair()
l = listener(); it = cookie(l); mark = inode(lost)
socket.send_fds(inner, [b'x'], [l.fileno()]); l.close()
socket.send_fds(outer, [b'x'], [lost.fileno()]); lost.close()
ready(it=it, lost=mark)
",
    );
    let rows = agreed(&netns);
    let undecided = "no descriptor";
    expect_nobody(find(&rows, "cookie", scene.number("it")), undecided);
    expect_nobody(find(&rows, "inode", scene.number("lost")), undecided);
    // The one that was not asked for counts all the same.
    let rows = sockets(&netns, &["-t"]);
    expect_nobody(find(&rows, "cookie", scene.number("it")), undecided);
}

#[test]
fn what_comes_and_goes_meanwhile_is_not_without_a_holder() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
import threading
l = listener(backlog=128); kept = []
def serve():
    while True: a, _ = l.accept(); a.recv(1); a.close()
threading.Thread(target=serve, daemon=True).start()
ready(pid=os.getpid())
for _ in range(100_000):
    c = socket.create_connection(l.getsockname()); kept.append(c)
    if len(kept) > 20: c = kept.pop(0); c.send(b'x'); c.close()
    if select.select([0], [], [], 0)[0]: os._exit(0)
os._exit(1)
",
    );
    let (mut seen, mut looks) = (0, 0);
    // How many are open at a time depends on who gets the CPU.
    let deadline = Instant::now() + patience(20);
    while looks < 5 || seen <= 50 && Instant::now() < deadline {
        looks += 1;
        let rows = sockets(&netns, &["-t", "state", "established"]);
        // A thread in the middle of accept() has no descriptor yet, and in the middle of close()
        // none any more; there are two threads.
        let mut calls = 0;
        for row in &rows {
            match row.text("class") {
                // The accept queue's.
                Some("unaccepted") => {}
                Some("no descriptor") => calls += 1,
                _ => {
                    expect_owner(row, scene.number("pid"));
                    seen += 1;
                }
            }
        }
        assert!(calls <= 2, "{rows:#?}");
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn nothing_is_searched_where_nothing_is_missing() {
    let netns = Netns::new();
    let mut scene = Scene::new(
        &netns,
        r"
l = listener(); c, a = pair(l); near, far = socket.socketpair(); step()
socket.send_fds(near, [b'x'], [c.fileno()]); c.close(); step()
",
    );
    let searches = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=openat"]).arg(socktrace());
        command.args(["sockets", "--netns", netns.name()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).contains("/fdinfo/")
    };
    assert!(!searches());
    scene.go();
    assert!(searches());
}

#[test]
fn a_descriptor_that_was_taken_from_another_process_is_a_holder() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
import ctypes
l = listener(); fd = l.fileno(); it = cookie(l); parent = os.getpid()
if os.fork() == 0:
    l.close()
    taken = ctypes.CDLL(None).syscall(438, os.pidfd_open(parent), fd, 0)  # pidfd_getfd
    step(parent=parent, child=os.getpid(), it=it, fd=fd, taken=taken); os._exit(0)
os.wait()
",
    );
    let rows = agreed(&netns);
    let parent = (scene.number("parent"), scene.number("fd"));
    let child = (scene.number("child"), scene.number("taken"));
    expect_holders(find(&rows, "cookie", scene.number("it")), &[parent, child]);
}

#[test]
fn sockets_of_a_ring_with_descriptors_are_as_any_others() {
    let netns = Netns::new();
    let Some(mut ring) = Ring::new(&netns) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = ring.socket(None);
    ring.connect(At::Fd(client), &listener);
    let accepted = ring.accept(&listener, None);
    let own = i64::from(std::process::id());
    let inodes = [client, accepted].map(|fd| inode(&format!("/proc/self/fd/{fd}")));
    let rows = agreed(&netns);
    for (inode, fd) in inodes.into_iter().zip([client, accepted]) {
        let row = find(&rows, "inode", inode);
        expect_holders(row.expect("state", "established"), &[(own, fd.into())]);
    }
    ring.close(At::Fd(client));
    let rows = agreed(&netns);
    assert!(
        rows.iter()
            .all(|row| row.number("inode") != Some(inodes[0]))
    );
    let row = find(&rows, "inode", inodes[1]);
    expect_holders(row.expect("state", "close_wait"), &[(own, accepted.into())]);
    ring.close(At::Fd(accepted));
}

#[test]
fn direct_descriptors_are_nobodys_and_named() {
    let netns = Netns::new();
    let Some(mut ring) = Ring::new(&netns) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.socket(Some(3));
    ring.connect(At::Slot(3), &listener);
    ring.accept(&listener, Some(5));
    let port = i64::from(listener.local_addr().unwrap().port());
    let rows = agreed(&netns);
    let client = find(&rows, "rport", port);
    let accepted = rows
        .iter()
        .find(|row| row.number("lport") == Some(port) && row.text("state") == Some("established"))
        .expect("the other side");
    expect_nobody(client, "direct descriptor");
    expect_nobody(accepted, "direct descriptor");
    // With a descriptor beside the slot it is held, and after it direct again.
    let installed = ring.install(3);
    let own = i64::from(std::process::id());
    let held = |rows: &[Row]| find(rows, "rport", port).holders();
    assert_eq!(held(&agreed(&netns)), [(own, installed.into())]);
    ring.close(At::Fd(installed));
    expect_nobody(find(&agreed(&netns), "rport", port), "direct descriptor");
    ring.close(At::Slot(3));
    ring.close(At::Slot(5));
    let rows = agreed(&netns);
    assert!(
        rows.iter()
            .all(|row| row.text("class") != Some("direct descriptor"))
    );
}

#[test]
fn a_pipes_row_has_the_holders_of_both_ends() {
    let netns = Netns::new();
    let mut scene = Scene::new(
        &netns,
        r"
r, w = os.pipe(); r2, w2 = os.pipe(); go, went = os.pipe()
again = os.open(f'/proc/self/fd/{r2}', os.O_RDWR)
child = os.fork()
if child == 0: os.close(went); os.close(r); os.close(again); os.read(go, 1); os._exit(0)
os.close(w)
step(pid=os.getpid(), child=child, one=inode(r), two=inode(r2), r=r, w=w, r2=r2, w2=w2, again=again)
os.close(r); os.close(r2); os.close(w2); os.close(again); step()
os.close(went); os.wait()
r, w = os.pipe(); os.close(w); step(three=inode(r), r=r)
",
    );
    let (pid, child) = (scene.said("pid"), scene.said("child"));
    let one = [(pid, "r", "reader"), (child, "w", "writer")];
    expect_pipe(&scene, "one", "open", &one);
    let two = [
        (pid, "r2", "reader"),
        (pid, "w2", "writer"),
        (pid, "again", "both"),
        (child, "r2", "reader"),
        (child, "w2", "writer"),
    ];
    expect_pipe(&scene, "two", "open", &two);
    let of_child = everywhere(&["--proto", "pipe", "-p", &child.to_string()]);
    find(&of_child, "inode", scene.number("one"));
    let all = everywhere(&[]);
    assert!(all.iter().all(|row| row.text("proto") != Some("pipe")));
    scene.go();
    expect_pipe(&scene, "one", "no_reader", &[(child, "w", "writer")]);
    expect_pipe(&scene, "two", "open", &two[3..]);
    scene.go();
    let inodes = [scene.number("one"), scene.number("two")];
    let left = everywhere(&["--proto", "pipe"]);
    let gone = |row: &Row| {
        inodes
            .iter()
            .all(|&inode| row.number("inode") != Some(inode))
    };
    assert!(left.iter().all(gone));
    expect_pipe(&scene, "three", "no_writer", &[(pid, "r", "reader")]);
    let ends = everywhere(&["--proto", "pipe", "--state", "no-writer"]);
    assert!(
        ends.iter()
            .all(|row| row.text("state") == Some("no_writer"))
    );
    find(&ends, "inode", scene.number("three"));
}

#[track_caller]
fn expect_pipe(scene: &Scene, name: &str, state: &str, holders: &[(u64, &str, &str)]) {
    let rows = everywhere(&["--proto", "pipe"]);
    let holders: Vec<_> = holders
        .iter()
        .map(|&(pid, fd, end)| json!({"pid": pid, "fd": scene.said(fd), "comm": "python3", "end": end}))
        .collect();
    find(&rows, "inode", scene.number(name))
        .expect("proto", "pipe")
        .expect("state", state)
        .expect("holders", holders)
        .expect_null("cookie")
        .expect_null("netns")
        .expect_null("recv_queue");
}

/// Pipes are in no namespace.
fn everywhere(arguments: &[&str]) -> Vec<Row> {
    let mut command = Command::new(socktrace());
    rows(&run(command
        .args(["sockets", "-o", "json"])
        .args(arguments)))
}
