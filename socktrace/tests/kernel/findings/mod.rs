//! `leaks` and `limits` on programs that have the fault, and on their innocent twins. Thresholds are
//! scaled to seconds; that the defaults find what they should is a matter of simulated time.

mod limits;
mod over;
mod told;
mod watching;

use std::{
    fs,
    io::Write as _,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    programs::lacks,
    support::{Dialogue, Netns, PRELUDE, inode, socktrace},
};

/// Windows of a second, and ages to match. Looks may take all of a CPU: on a busy machine they would
/// else be too far apart for what lasts seconds.
const SCALED: &str = r#"
[detect]
every = "1s"
share = 1.0
[detect.close_wait]
age = "1s"
window = "1s"
[detect.dead_open]
age = "1s"
window = "1s"
[detect.never_connected]
age = "1s"
window = "1s"
[detect.unix_half_dead]
age = "1s"
window = "1s"
[detect.pipe]
age = "1s"
window = "1s"
[detect.in_flight_fd]
age = "1s"
window = "1s"
[detect.idle_growth]
every = "1s"
age = "1s"
lifetimes = 1
usual = "1s"
idle = "1s"
history = "10s"
[detect.syn_sent]
age = "1s"
[detect.orphan]
stuck = "1s"
[detect.accept_queue]
stuck = "3s"
[detect.inherited_listener]
age = "2s"
"#;

/// A program in the namespace that is spoken to.
fn program(netns: &Netns, script: &str, arguments: &[&str]) -> Dialogue {
    let mut command = netns.command("python3");
    command.args(["-c", &format!("{PRELUDE}\n{script}")]);
    command.args(arguments);
    Dialogue::start(command)
}

/// What a report of the namespace says.
fn report(name: &str, netns: &Netns, arguments: &[&str]) -> Output {
    report_by(SCALED, name, netns, arguments)
}

/// The same with other thresholds.
fn report_by(thresholds: &str, name: &str, netns: &Netns, arguments: &[&str]) -> Output {
    let mut configuration = NamedTempFile::new().unwrap();
    configuration.write_all(thresholds.as_bytes()).unwrap();
    let mut command = Command::new(socktrace());
    command.args([name, "--netns", netns.name(), "--config.file"]);
    command.arg(configuration.path()).args(arguments);
    command.output().unwrap()
}

#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    let json = String::from_utf8(output.stdout.clone()).unwrap();
    json.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn leaks(netns: &Netns, duration: &str) -> Vec<Value> {
    let json = ["-o", "json", "--duration", duration];
    rows(&report("leaks", netns, &json))
}

/// The only finding of a kind that is about this process.
#[track_caller]
fn of<'a>(found: &'a [Value], kind: &str, pid: u64) -> &'a Value {
    let of: Vec<_> = found
        .iter()
        .filter(|it| it["kind"] == kind && it["pid"] == pid)
        .collect();
    assert_eq!(of.len(), 1, "{kind} of {pid} among {found:#?}");
    of[0]
}

/// Nothing of this process is worse than information.
#[track_caller]
fn innocent(found: &[Value], pid: u64) {
    let bad = |it: &&Value| it["pid"] == pid && it["severity"] != "info";
    let bad: Vec<_> = found.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

fn number(row: &Value, key: &str) -> u64 {
    row[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} of {row}"))
}

/// Two numbers that a script says after a word, or one.
fn numbers(text: &str) -> Vec<u64> {
    text.split(' ').map(|it| it.parse().unwrap()).collect()
}

/// What grows, how bad that is, and how bad what stays is.
const GROWING: [(&str, &str, Option<&str>); 5] = [
    ("close_wait", "confirmed", Some("info")),
    ("dead_open", "confirmed", Some("info")),
    ("unix_half_dead", "confirmed", Some("info")),
    ("pipe", "confirmed", None),
    ("never_connected", "suspect", None),
];

/// A namespace whose connections are tracked, for so many seconds where they are UDP, and how many the
/// table takes; `None` where they cannot be.
fn tracking(seconds: u32) -> Option<(Netns, u32)> {
    let max = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    let (Ok(max), false) = (max, lacks("nft", "nftables")) else {
        println!("skipped: connections are not tracked here");
        return None;
    };
    let netns = Netns::new();
    // The kernel tracks where a rule asks for it.
    netns.sh("nft add table ip t");
    netns.sh("nft 'add chain ip t o { type filter hook output priority 0; }'");
    netns.sh("nft add rule ip t o ct state new counter");
    netns.sh(&format!(
        "echo {seconds} > /proc/sys/net/netfilter/nf_conntrack_udp_timeout"
    ));
    Some((netns, max.trim().parse().unwrap()))
}

#[test]
fn leaks_are_found_while_they_grow_and_are_over_when_they_end() {
    let netns = Netns::new();
    let number_of_netns = inode(&format!("/run/netns/{}", netns.name()));
    let mut twin = program(&netns, include_str!("leaks.py"), &["twin"]);
    let twins = numbers(&twin.hear("leaking"))[0];
    let mut leaking = program(&netns, include_str!("leaks.py"), &[]);
    let [pid, port] = numbers(&leaking.hear("leaking"))[..] else {
        panic!("pid and port")
    };
    let found = leaks(&netns, "18s");
    leaking.say("enough");
    let leaked = numbers(&leaking.hear("leaked"))[0];
    for (kind, severity, _) in GROWING {
        let row = of(&found, kind, pid);
        assert_eq!(row["severity"], severity, "{row}");
        assert_eq!(row["comm"], "python3", "{row}");
        assert_eq!(row["complete"], true, "{row}");
        // Counted at the last look, before the end of the watch.
        let count = number(row, "count");
        assert!((20..=leaked).contains(&count), "{count} of {leaked}: {row}");
        assert!(number(row, "oldest_seconds") >= 5, "{row}");
        assert!(number(&row["evidence"], "floor_risen_by") > 5, "{row}");
        if kind != "pipe" {
            assert_eq!(row["netns"], number_of_netns, "{row}");
            assert_eq!(row["evidence"]["rising"], "yes", "{row}");
        }
    }
    let row = of(&found, "close_wait", pid);
    assert_eq!(
        (&row["raddr"], &row["rport"], &row["proto"]),
        (&"127.0.0.1".into(), &port.into(), &"tcp".into())
    );
    // The program has read nothing, not even the end.
    assert_eq!(row["evidence"]["fin_unread"], row["count"], "{row}");
    assert_eq!(
        row["advice"],
        format!("socktrace sockets -p {pid} state close-wait")
    );
    // Both ends of the connections that only grow old are its own.
    let idle = found
        .iter()
        .filter(|it| it["kind"] == "idle_growth" && it["pid"] == pid);
    let mut ends: Vec<_> = idle
        .map(|it| {
            assert_eq!(it["severity"], "suspect");
            // Of those that end none lives for a second.
            assert_eq!(it["evidence"]["usual_seconds"], 0, "{it}");
            (it["lport"].as_u64(), it["rport"].as_u64())
        })
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [(None, Some(port)), (Some(port), None)], "{found:#?}");
    let udp = of(&found, "udp_growth", pid);
    assert_eq!(
        (&udp["severity"], &udp["proto"]),
        (&"suspect".into(), &"udp".into())
    );
    innocent(&found, twins);

    // What is left does not grow: that is worth a line where it is a fault, and every one counts.
    let found = leaks(&netns, "3s");
    for (kind, _, stays) in GROWING {
        let Some(severity) = stays else {
            assert!(found.iter().all(|it| it["kind"] != kind), "{found:#?}");
            continue;
        };
        let row = of(&found, kind, pid);
        assert_eq!(row["severity"], severity, "{row}");
        assert_eq!(number(row, "count"), leaked, "{row}");
    }
    innocent(&found, pid);
    leaking.say("close");
    leaking.hear("closed");
    let found = leaks(&netns, "2s");
    let left = found.iter().filter(|it| it["pid"] == pid);
    let left: Vec<_> = left.map(|it| it["kind"].as_str().unwrap()).collect();
    // It still listens, on a port that the kernel chose.
    assert_eq!(left, ["listener_in_ephemeral_range"]);
}

#[test]
fn what_waits_for_somebody_is_found() {
    let netns = Netns::new();
    let mut twin = program(&netns, include_str!("waits.py"), &["twin"]);
    let twins = numbers(&twin.hear("waiting"))[0];
    let mut waiting = program(&netns, include_str!("waits.py"), &[]);
    let pid = numbers(&waiting.hear("waiting"))[0];
    let found = leaks(&netns, "7s");
    let row = of(&found, "syn_sent", pid);
    assert_eq!(
        (&row["severity"], &row["rport"]),
        (&"warning".into(), &9000.into())
    );
    assert_eq!(
        (&row["count"], &row["evidence"]["open_there"]),
        (&29.into(), &30.into())
    );
    assert!((5..=30).contains(&number(row, "oldest_seconds")), "{row}");

    let orphans: Vec<_> = found.iter().filter(|it| it["kind"] == "orphan").collect();
    let [row] = orphans[..] else {
        panic!("{found:#?}")
    };
    // Nobody holds them, and who did is not known.
    assert_eq!(
        (&row["severity"], &row["rport"]),
        (&"info".into(), &9001.into())
    );
    assert_eq!((&row["count"], &row["pid"]), (&12.into(), &Value::Null));
    assert!(
        number(&row["evidence"], "bytes_unsent") > 12 * 65536,
        "{row}"
    );

    let queue = |port: u64| {
        let mut rows = found
            .iter()
            .filter(|it| it["kind"] == "accept_queue" && it["lport"] == port);
        rows.next().unwrap_or_else(|| panic!("{port}: {found:#?}"))
    };
    let stuck = queue(9002);
    assert_eq!(
        (&stuck["severity"], &stuck["pid"]),
        (&"critical".into(), &pid.into())
    );
    assert_eq!((&stuck["used"], &stuck["limit"]), (&7.into(), &8.into()));
    assert_eq!(stuck["evidence"]["dropped"], 0);
    assert!(
        number(&stuck["evidence"], "not_accepted_seconds") >= 3,
        "{stuck}"
    );
    // The SYNs of those that wait are sent again, and dropped again.
    let full = queue(9000);
    assert_eq!((&full["used"], &full["limit"]), (&1.into(), &0.into()));
    assert!(number(&full["evidence"], "dropped") >= 29, "{full}");

    // Fewer of them are what happens; only the queue that lets nobody in is worth a word.
    let of_twin = found
        .iter()
        .filter(|it| it["pid"] == twins && it["severity"] != "info");
    let ports: Vec<_> = of_twin.map(|it| it["lport"].as_u64()).collect();
    assert_eq!(ports, [Some(9100)], "{found:#?}");
}

#[test]
fn a_port_that_a_child_keeps_busy_is_found() {
    let netns = Netns::new();
    let mut servers = program(&netns, include_str!("listeners.py"), &[]);
    let pid = numbers(&servers.hear("serving"))[0];
    let found = leaks(&netns, "8s");
    servers.say("enough");
    let mut left = Vec::new();
    loop {
        let line = servers.hear("");
        let Some(ports) = line.strip_prefix("ports ") else {
            break;
        };
        left.push(numbers(ports)[0]);
    }
    let kept: Vec<_> = found
        .iter()
        .filter(|it| it["kind"] == "inherited_listener")
        .collect();
    // Those that were left before the watch began tell nobody who opened them.
    assert!(kept.len() >= 2, "{found:#?}");
    for row in kept {
        assert!(left.contains(&number(row, "lport")), "{left:?}: {row}");
        assert_eq!(
            (&row["severity"], &row["comm"]),
            (&"confirmed".into(), &"sleep".into())
        );
        assert_eq!(row["evidence"]["opened_by_pid"], pid, "{row}");
        assert_eq!(row["evidence"]["opened_by"], "python3", "{row}");
        assert!(number(row, "oldest_seconds") >= 2, "{row}");
    }
}

#[test]
fn descriptors_that_nobody_receives_are_found() {
    let netns = Netns::new();
    let script = r"
keep, given = socket.socketpair()
taken, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
def send(to):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0))
    socket.send_fds(to, [b'x'], [s.fileno()]); s.close()
print('sending', os.getpid(), flush=True)
count = 0
while not select.select([sys.stdin], [], [], 0.1)[0]:
    send(keep); count += 1
    # The twin: these are received.
    send(taken); _, fds, _, _ = socket.recv_fds(take, 1, 1); os.close(fds[0])
if not sys.stdin.readline(): os._exit(0)
print('sent', count, flush=True)
if not sys.stdin.readline(): os._exit(0)
given.close()
print('closed', flush=True)
sys.stdin.readline()
";
    let mut sending = program(&netns, script, &[]);
    let pid = numbers(&sending.hear("sending"))[0];
    let found = leaks(&netns, "8s");
    sending.say("enough");
    let sent = numbers(&sending.hear("sent"))[0];
    let in_flight = |found: &[Value]| -> Vec<Value> {
        let rows = found.iter().filter(|it| it["kind"] == "in_flight_fd");
        rows.cloned().collect()
    };
    let rows = in_flight(&found);
    assert_eq!(rows.len(), 1, "{found:#?}");
    assert_eq!(rows[0]["severity"], "confirmed", "{rows:#?}");
    assert!(
        (20..=sent).contains(&number(&rows[0], "count")),
        "{rows:#?}"
    );
    // Whoever could receive them.
    assert_eq!(rows[0]["pid"], pid, "{rows:#?}");
    assert!(number(&rows[0], "oldest_seconds") >= 4, "{rows:#?}");
    // They stay, and are no more.
    let found = leaks(&netns, "4s");
    let rows = in_flight(&found);
    assert_eq!(
        (&rows[0]["severity"], &rows[0]["count"]),
        (&"info".into(), &sent.into())
    );
    sending.say("close");
    sending.hear("closed");
    assert_eq!(in_flight(&leaks(&netns, "4s")), [Value::Null; 0]);
}

#[test]
fn ports_that_are_kept_are_found() {
    let netns = Netns::new();
    netns.sh("echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range");
    netns.sh("echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse");
    let mut closing = program(&netns, include_str!("ports.py"), &[]);
    let pid = numbers(&closing.hear("closing"))[0];
    let found = leaks(&netns, "7s");
    let to = |kind: &str, port: u64| -> Vec<&Value> {
        let rows = found.iter();
        rows.filter(|it| it["kind"] == kind && it["rport"] == port)
            .collect()
    };
    let row = of(&found, "time_wait", pid);
    assert_eq!((&row["rport"], &row["limit"]), (&9000.into(), &100.into()));
    assert!(["warning", "critical"].contains(&row["severity"].as_str().unwrap()));
    assert!((31..=70).contains(&number(row, "used")), "{row}");
    // Where the other side closed first, it keeps them.
    assert_eq!(to("time_wait", 9001), [&Value::Null; 0]);
    assert_eq!(to("port_exhaustion", 9002), [&Value::Null; 0], "{found:#?}");
    let row = of(&found, "listener_in_ephemeral_range", pid);
    assert_eq!(
        (&row["severity"], &row["lport"]),
        (&"info".into(), &40005.into())
    );

    closing.say("fill");
    assert_eq!(closing.hear("full"), "EADDRNOTAVAIL");
    let found = leaks(&netns, "2s");
    let rows = found
        .iter()
        .filter(|it| it["kind"] == "port_exhaustion" && it["rport"] == 9002);
    let [row] = rows.collect::<Vec<_>>()[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(
        (&row["severity"], &row["pid"]),
        (&"critical".into(), &pid.into())
    );
    assert_eq!(
        (&row["limit"], &row["evidence"]["left"]),
        (&100.into(), &0.into())
    );
    // The listener's port is no connection's.
    assert_eq!(row["evidence"]["blocked"], 1, "{row}");
}

#[test]
fn a_range_that_runs_out_shows_by_the_ports_that_are_chosen() {
    let netns = Netns::new();
    netns.sh("echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range");
    // Twenty a second, and when none is left they are tried for.
    let script = r"
l = socket.create_server(('127.0.0.1', 9000)); l.listen(128); kept = []
print('filling', os.getpid(), flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    try: kept.append(pair(l))
    except OSError: pass
";
    let mut filling = program(&netns, script, &[]);
    let pid = numbers(&filling.hear("filling"))[0];
    let found = leaks(&netns, "9s");
    let row = of(&found, "port_exhaustion", pid);
    assert_eq!(
        (&row["severity"], &row["used"]),
        (&"critical".into(), &100.into())
    );
    // All of the last were of the parity that is tried second.
    assert_eq!(row["evidence"]["second_parity"], 32, "{row}");
    assert!(number(&row["evidence"], "refused") >= 1, "{row}");
}

/// The keys in a table of docs/findings.md, in its order; the last section has them in a sentence.
fn documented(heading: &str) -> Vec<&'static str> {
    let document = include_str!("../../../../docs/findings.md");
    let section = document.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split(" | ").next())
        .collect();
    cells
        .iter()
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`'))
        .collect()
}

/// The keys of a line of JSON, in the order in which they are written.
fn keys(line: &str) -> Vec<String> {
    let row: serde_json::Map<String, Value> = serde_json::from_str(line).expect(line);
    let mut keys: Vec<_> = row.keys().cloned().collect();
    keys.sort_by_key(|key| line.find(&format!("\"{key}\":")));
    keys
}
