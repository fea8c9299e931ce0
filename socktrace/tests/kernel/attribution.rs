//! To whom processes belong, for who asks.

use std::process::Command;

use crate::support::{Dialogue, Netns, python, rows, run, socktrace};

#[test]
fn a_program_that_becomes_another_as_another_user_is_described_again() {
    let netns = Netns::new();
    let wait = "import os, socket, sys, time; s = socket.socket(); time.sleep(0.3)";
    let first = format!(
        "{wait}; os.execv('/usr/bin/setpriv', ['setpriv', '--reuid', '65534', \
         '--clear-groups', '/usr/bin/python3', '-c', sys.argv[1]])"
    );
    let output = netns
        .command(socktrace().to_str().unwrap())
        .args(["trace", "-o", "json", "--event", "socket"])
        .args(["--fields", "exe,uid,unit,pod,comm"])
        .args(["--", "/usr/bin/python3", "-c", &first, wait])
        .output()
        .unwrap();
    let rows = rows(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(rows.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    for (row, user) in rows.iter().zip([0, 65_534]) {
        row.expect("uid", user)
            .expect("exe", python.to_str().unwrap())
            .expect_null("pod");
    }
}

#[test]
fn open_sockets_show_more_of_their_owner_to_who_asks() {
    let netns = Netns::new();
    let script = "l = listener(); print('pid', os.getpid(), flush=True); sys.stdin.readline()";
    let mut holder = Dialogue::start(python(&netns, script));
    let pid: i64 = holder.hear("pid").parse().unwrap();
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let mut command = Command::new(socktrace());
    command.args(["sockets", "-t", "-o", "json", "--netns", netns.name()]);
    command.args(["--fields", "exe,pod,unit,uid,pid"]);
    let listed = run(&mut command);
    assert!(listed.starts_with("{\"exe\":"), "in that order: {listed}");
    let listed = rows(&listed);
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]
        .expect("pid", pid)
        .expect("exe", exe.to_str().unwrap())
        .expect("uid", 0)
        .expect_null("pod");
    assert_eq!(listed[0].keys(), ["exe", "pid", "pod", "uid", "unit"]);
}
