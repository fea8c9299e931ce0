//! Beside the tools that people use today, on the same traffic.

use std::{collections::HashMap, path::Path, process::Command};

use crate::support::{Background, Netns, Row, rows, run, socktrace};

/// A server that forks and a client, in two processes: who owns what is known for certain.
const SERVER_AND_CLIENT: &str = "
import os, socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(64)
child = os.fork()
if child == 0:
    for turn in range(60):
        c = socket.socket(); c.connect(l.getsockname()); c.send(b'x' * 2048); c.recv(9)
        if turn % 3 == 0: c.recv(9)
        c.close()
    r = socket.socket(); r.connect_ex(('127.0.0.1', 1)); r.close()
    os._exit(0)
for turn in range(60):
    a, _ = l.accept(); a.recv(4096); a.send(b'y')
    if turn % 3: a.recv(9)
    a.close()
os.wait(); print(os.getpid(), child)
";

/// A peer, if it is installed; says so if not.
fn peer(netns: &Netns, name: &str, header: &str) -> Option<Background> {
    let path = format!("/usr/sbin/{name}");
    if !Path::new(&path).exists() {
        println!("skipped: {name} is not there (Debian package libbpf-tools)");
        return None;
    }
    let mut command = netns.command("stdbuf");
    command.args(["-oL", &path]);
    Some(Background::start(command, header))
}

fn ours(netns: &Netns, command: &str) -> Background {
    let mut tracer = Command::new(socktrace());
    tracer.args([command, "-o", "json", "--netns", netns.name()]);
    Background::start(tracer, "Ctrl-C")
}

/// Runs the traffic; the pids of server and client.
fn traffic(netns: &Netns) -> (i64, i64) {
    let said = run(netns.command("python3").args(["-c", SERVER_AND_CLIENT]));
    let mut pids = said.split_whitespace().map(|pid| pid.parse().unwrap());
    (pids.next().unwrap(), pids.next().unwrap())
}

/// A tuple as tcplife and tcpstates print it.
fn tuple(row: &Row) -> [String; 4] {
    let port = |key| row.number(key).unwrap_or(0).to_string();
    let address = |key| row.text(key).unwrap_or("0.0.0.0").to_owned();
    [
        address("laddr"),
        port("lport"),
        address("raddr"),
        port("rport"),
    ]
}

#[test]
fn every_line_of_tcplife_is_in_life_and_the_owner_is_the_true_one() {
    let netns = Netns::new();
    let Some(tcplife) = peer(&netns, "tcplife", "RPORT") else {
        return;
    };
    let life = ours(&netns, "life");
    let (server, client) = traffic(&netns);
    let (life, _) = life.stop();
    let (tcplife, _) = tcplife.stop();

    let ours: HashMap<_, _> = rows(&life)
        .into_iter()
        .map(|row| (tuple(&row), row))
        .collect();
    let mut lines = 0;
    for line in tcplife.lines().skip(1) {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [pid, _, laddr, lport, raddr, rport, tx, ..] = columns[..] else {
            panic!("{line}");
        };
        if !pid
            .parse()
            .is_ok_and(|pid: i64| pid == server || pid == client)
        {
            // Other namespaces' traffic; tcplife has no filter for them.
            continue;
        }
        let row = &ours[&[laddr, lport, raddr, rport].map(str::to_owned)];
        let truth = if row.text("role") == Some("server") {
            server
        } else {
            client
        };
        row.expect("pid", truth);
        // Where tcplife names another, it names whoever the packet interrupted.
        assert!(
            pid.parse() == Ok(truth) || row.text("role") == Some("server"),
            "{line}"
        );
        #[expect(clippy::cast_precision_loss, reason = "two digits are compared")]
        let sent = row.number("tx_bytes").unwrap() as f64 / 1024.0;
        assert!(
            (sent - tx.parse::<f64>().unwrap()).abs() < 0.02,
            "{line}: {row:?}"
        );
        lines += 1;
    }
    // Both sides of 60 connections, and the one that was refused.
    assert_eq!((lines, ours.len()), (121, 121));
}

#[test]
fn every_transition_of_tcpstates_is_in_trace() {
    let netns = Netns::new();
    let Some(tcpstates) = peer(&netns, "tcpstates", "NEWSTATE") else {
        return;
    };
    let trace = ours(&netns, "trace");
    let (server, client) = traffic(&netns);
    let (trace, _) = trace.stop();
    let (tcpstates, _) = tcpstates.stop();

    let mut ours: HashMap<_, usize> = HashMap::new();
    let states = rows(&trace);
    for row in states
        .iter()
        .filter(|row| row.text("event") == Some("state"))
    {
        // What tcpstates calls CLOSE after FIN_WAIT2 is a socket whose port stays in TIME_WAIT.
        let new = row.text("new").unwrap().replace("time_wait", "close");
        let change = [row.text("old").unwrap().to_owned(), new];
        *ours.entry((tuple(row), change)).or_default() += 1;
    }
    let mut lines = 0;
    for line in tcpstates.lines().skip(1) {
        let columns: Vec<_> = line.split_whitespace().collect();
        // The name of a process may have blanks in it.
        let [_, pid, .., laddr, lport, raddr, rport, old, "->", new, _] = columns[..] else {
            panic!("{line}");
        };
        if !pid
            .parse()
            .is_ok_and(|pid: i64| pid == server || pid == client)
        {
            continue;
        }
        let tuple = [laddr, lport, raddr, rport].map(str::to_owned);
        let change = [old, new].map(str::to_lowercase);
        let left = ours
            .get_mut(&(tuple, change))
            .unwrap_or_else(|| panic!("not ours: {line}"));
        assert!(*left > 0, "once more than ours: {line}");
        *left -= 1;
        lines += 1;
    }
    // It drops events and names whoever was interrupted, so some lines are missing; not many are.
    assert!(lines > 400, "{lines}");
}
