//! `ports`, as a user sees it.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
    time::SystemTime,
};

use serde_json::Value;

use crate::support::{Background, Dialogue, Netns, inode, python, socktrace};

/// Holds ports of the range 40000 to 40099 in each way, and waits.
const HOLDER: &str = r"
l = socket.create_server(('127.0.0.1', 9000))
inside = socket.create_server(('::1', 40004), family=socket.AF_INET6)
bound = [socket.socket() for _ in range(3)]
for s in bound: s.bind(('127.0.0.9', 0))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0))
pairs = [pair(l) for _ in range(76)]
gone = [pair(l) for _ in range(2)]
for c, a in gone: c.close(); a.close()
print('pid', os.getpid(), flush=True)
if not sys.stdin.readline(): os._exit(0)
";

fn command(netns: &Netns, arguments: &[&str]) -> Command {
    let mut command = Command::new(socktrace());
    command.args(["ports", "--netns", netns.name()]);
    command.args(arguments);
    command
}

fn ports(netns: &Netns, arguments: &[&str]) -> Output {
    command(netns, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    parsed(&text(&output.stdout))
}

fn parsed(json: &str) -> Vec<Value> {
    let rows = json.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

/// The keys in the table of docs/ports.md.
fn documented() -> BTreeSet<String> {
    let document = include_str!("../../../../docs/ports.md");
    let section = document.split("\n## Keys\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

fn small_range(netns: &Netns) {
    netns.sh("echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range");
    // What is left in TIME_WAIT is not taken over.
    netns.sh("echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse");
}

#[test]
fn rows_have_the_keys_that_are_documented_and_say_who_has_what() {
    let netns = Netns::new();
    small_range(&netns);
    let mut holder = Dialogue::start(python(&netns, HOLDER));
    let pid: i64 = holder.hear("pid").parse().unwrap();
    let found = rows(&ports(&netns, &["--duration", "0s", "-o", "json"]));
    let number = inode(&format!("/run/netns/{}", netns.name()));
    let summary: Vec<_> = found
        .iter()
        .map(|row| {
            assert_eq!(row["netns"], number);
            assert_eq!(
                (&row["complete"], &row["eligible"]),
                (&true.into(), &100.into())
            );
            assert_eq!(row["eta_seconds"], Value::Null);
            let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            let count = |key: &str| row[key].as_u64().unwrap_or(0);
            let owners = row["owners"].as_array().unwrap().iter();
            let owners: Vec<_> = owners
                .map(|it| {
                    let comm = it["comm"].as_str().unwrap_or("-");
                    (
                        it["pid"] == pid,
                        comm.to_owned(),
                        it["count"].as_u64().unwrap(),
                    )
                })
                .collect();
            let call = format!(
                "{} {} {}:{}",
                word("proto"),
                word("laddr"),
                word("raddr"),
                count("rport")
            );
            (call, ["blocked", "used", "left"].map(count), owners)
        })
        .collect();
    let mine = |count| (true, "python3".to_owned(), count);
    let nobodys = (false, "-".to_owned(), 2);
    assert_eq!(
        summary,
        [
            (
                "tcp 127.0.0.1 127.0.0.1:9000".to_owned(),
                [4, 82, 18],
                vec![mine(80), nobodys]
            ),
            ("tcp - -:0".to_owned(), [4, 4, 96], vec![mine(4)]),
            ("tcp 127.0.0.9 -:0".to_owned(), [3, 3, 97], vec![mine(3)]),
            ("udp 0.0.0.0 -:0".to_owned(), [0, 1, 99], vec![mine(1)]),
            ("udp 127.0.0.1 -:0".to_owned(), [0, 1, 99], vec![mine(1)]),
        ]
    );
    let keys: BTreeSet<_> = found[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, documented());
    assert_eq!(found[0]["used_ratio"], 0.82);

    let count = |arguments: &[&str]| {
        let all = [&["--duration", "0s", "-o", "json"], arguments].concat();
        rows(&ports(&netns, &all)).len()
    };
    let (own, other) = (pid.to_string(), std::process::id().to_string());
    // The one about any address is of both families.
    for (arguments, expected) in [
        (&["-6"][..], 1),
        (&["-4"], 5),
        (&["-D", "9000"], 1),
        (&["-D", "9001"], 0),
        (&["-p", &own], 5),
        (&["-p", &other], 0),
        (&["-n", "2"], 2),
        (&["-n", "0"], 5),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn a_table_says_how_bad_it_is_and_what_blocks_ports() {
    let netns = Netns::new();
    small_range(&netns);
    let mut holder = Dialogue::start(python(&netns, HOLDER));
    let pid = holder.hear("pid");
    let output = ports(&netns, &["--duration", "0s"]);
    let (table, messages) = (text(&output.stdout), text(&output.stderr));
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    let number = inode(&format!("/run/netns/{}", netns.name())).to_string();
    let owner = format!("python3 pid {pid}: 80, TIME_WAIT: 2");
    let worst =
        format!("warning {number} connect 127.0.0.1 127.0.0.1:9000 82 of 100 82% 18 - {owner}");
    assert_eq!(lines[1].join(" "), worst, "{table}");
    let listens = format!(
        "blocked in {number} for every connect(): 1 port (40004) at ::1: listens, python3 pid {pid}"
    );
    assert!(table.contains(&listens), "{table}");
    let bound = format!(") at 127.0.0.9: bound, not connected, python3 pid {pid}");
    assert!(
        table.contains("3 ports (") && table.contains(&bound),
        "{table}"
    );
    assert!(
        messages.contains("one look does not say how fast"),
        "{messages}"
    );
}

#[test]
fn fail_on_makes_a_status_of_what_is_bad() {
    let netns = Netns::new();
    small_range(&netns);
    let status = |arguments: &[&str]| {
        let all = [&["--duration", "0s"], arguments].concat();
        ports(&netns, &all).status.code().unwrap()
    };
    assert_eq!(status(&["--fail-on", "warning"]), 0);
    let mut holder = Dialogue::start(python(&netns, HOLDER));
    holder.hear("pid");
    assert_eq!(status(&[]), 0);
    assert_eq!(status(&["--fail-on", "warning"]), 3);
    assert_eq!(status(&["--fail-on", "critical"]), 0);
    // Not what is shown counts, but what was asked for.
    assert_eq!(status(&["--fail-on", "warning", "-D", "9001"]), 0);
    assert_eq!(status(&["--fail-on", "warning", "-n", "1"]), 3);
}

#[test]
fn without_privileges_it_is_an_estimate_and_says_so() {
    let netns = Netns::new();
    small_range(&netns);
    let mut holder = Dialogue::start(python(&netns, HOLDER));
    holder.hear("pid");
    // From inside: another namespace could not be entered.
    let mut command = netns.command("setpriv");
    command.args([
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--ambient-caps",
        "-all",
    ]);
    command.arg(socktrace());
    command.args([
        "ports",
        "--duration",
        "0s",
        "-o",
        "json",
        "--netns",
        netns.name(),
    ]);
    let output = command.output().unwrap();
    let found = rows(&output);
    let told = text(&output.stderr);
    assert!(
        told.contains("the kernel does not say which ports are blocked"),
        "{told}"
    );
    assert_eq!(found[0]["used"], 82, "{found:?}");
    assert!(
        found.iter().all(|row| row["complete"] == false),
        "{found:?}"
    );
}

#[test]
fn the_time_to_exhaustion_is_that_of_what_grows() {
    let netns = Netns::new();
    netns.sh("echo 40000 40399 > /proc/sys/net/ipv4/ip_local_port_range");
    // 25 a second: the range is used up after 15.
    let script = r"
l = socket.create_server(('127.0.0.1', 9000)); l.listen(4096)
steady = [pair(l) for _ in range(20)]
held = []; begin = time.monotonic()
print('growing', flush=True)
try:
    for i in range(400):
        time.sleep(max(0, begin + i / 25 - time.monotonic()))
        held.append(pair(l))
except OSError as error:
    print('full', time.time(), errno.errorcode[error.errno], flush=True)
sys.stdin.readline()
";
    let mut filler = Dialogue::start(python(&netns, script));
    filler.hear("growing");
    let json = ["--duration", "4s", "-o", "json", "-D", "9000"];
    let found = rows(&ports(&netns, &json));
    let then = SystemTime::now();
    let eta = found[0]["eta_seconds"].as_f64().unwrap();
    let full = filler.hear("full");
    let (at, error) = full.split_once(' ').unwrap();
    assert_eq!(error, "EADDRNOTAVAIL");
    let truth = at.parse::<f64>().unwrap() - seconds(then);
    // A second is what the command may take to come to its end on a busy machine.
    assert!(
        (eta - truth).abs() < (0.2 * truth).max(1.0),
        "{eta} s said, {truth} s taken"
    );
    // What stands still has none.
    let found = rows(&ports(&netns, &["--duration", "2s", "-o", "json"]));
    assert_eq!(found[0]["eta_seconds"], Value::Null);
    assert_eq!(found[0]["left"], 0);
}

/// A range of 28,000 ports that is half full, and then filled at 300 connections a second.
///
/// Past half a `connect()` takes a millisecond of a CPU, so on a busy machine it may not keep its pace:
/// what is said is held against the pace that it had, and against the end if it kept it.
#[test]
fn a_large_range_that_fills_is_told_before_it_is_full() {
    let netns = Netns::new();
    netns.sh("echo 30000 57999 > /proc/sys/net/ipv4/ip_local_port_range");
    // Of 20,000 descriptors each: two that connect, two that accept.
    let server = r"
import ctypes, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000)); os.nice(-20)
l = socket.create_server(('127.0.0.1', 9000)); l.listen(4096)
# It ends with the one that is ended: PR_SET_PDEATHSIG.
if os.fork() == 0: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
print('listening', flush=True); held = []
while len(held) < 19000: held.append(l.accept()[0])
time.sleep(300)
";
    let client = r"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000)); os.nice(-20)
held = []
def more():
    s = socket.socket(); s.connect(('127.0.0.1', 9000)); held.append(s)
while len(held) < 6800: more()
print('connecting', flush=True)
turn = time.monotonic()
try:
    while True:
        # What it is late for long is not made up by a burst: that would be another rate.
        turn = max(turn + 1 / 150, time.monotonic() - 0.2)
        time.sleep(max(0, turn - time.monotonic()))
        if len(held) % 50 == 0: print('made', time.time(), len(held), flush=True)
        more()
except OSError as error:
    print('full', time.time(), errno.errorcode[error.errno], flush=True)
time.sleep(300)
";
    let _server = Background::start(python(&netns, server), "listening");
    let clients = [0, 1].map(|_| Background::start(python(&netns, client), "connecting"));
    let mut arguments = vec!["--duration", "8s", "-o", "json", "-D", "9000"];
    arguments.extend(["--fail-on", "warning"]);
    let mut told = Vec::new();
    let full = |client: &Background| -> Option<f64> {
        let line = client.stdout();
        let line = line.lines().find_map(|line| line.strip_prefix("full "))?;
        assert!(line.ends_with("EADDRNOTAVAIL"), "{line}");
        line.split(' ').next()?.parse().ok()
    };
    let first_full = loop {
        let output = ports(&netns, &arguments);
        let found = parsed(&text(&output.stdout));
        let number = |key: &str| found[0][key].as_f64();
        told.push(Told {
            ratio: number("used_ratio").unwrap(),
            left: number("left").unwrap(),
            eta: number("eta_seconds"),
            status: output.status.code(),
        });
        if let Some(at) = clients.iter().filter_map(full).reduce(f64::min) {
            break at;
        }
        assert!(told.len() < 20, "{told:?}");
    };
    let made = clients.each_ref().map(|client| progress(&client.stdout()));
    let past_half = |it: &&Told| it.ratio > 0.5 && it.left > 600.0;
    let past_half: Vec<_> = told.iter().filter(past_half).collect();
    assert!(past_half.len() >= 2, "{told:?}");
    for it in past_half {
        let eta = it.eta.unwrap();
        // When so many were used; the command says it later.
        let looked = when(&made, 28_000.0 - it.left);
        let pace = |from, to| (all(&made, to) - all(&made, from)) / (to - from);
        let (kept, later) = (pace(looked - 6.0, looked), pace(looked, first_full));
        let (expected, truth) = (it.left / kept, first_full - looked);
        println!("{it:?}: {kept:.0} a second {expected:.1}, then {later:.0} {truth:.1}");
        assert!((eta - expected).abs() <= 0.2 * expected, "{it:?}");
        if (kept - later).abs() < 0.1 * kept {
            assert!((eta - truth).abs() <= 0.2 * truth, "{it:?}");
        }
        assert_eq!(it.status, Some(3), "{it:?}");
    }
}

/// What one run said while the range filled.
#[derive(Debug)]
struct Told {
    ratio: f64,
    left: f64,
    eta: Option<f64>,
    status: Option<i32>,
}

/// When there were how many connections.
fn progress(said: &str) -> Vec<(f64, f64)> {
    let made = said.lines().filter_map(|line| line.strip_prefix("made "));
    let made = made.filter_map(|line| {
        let (at, count) = line.split_once(' ')?;
        Some((at.parse().ok()?, count.parse().ok()?))
    });
    made.collect()
}

/// How many connections all had at a time, on the line between what they said.
fn all(made: &[Vec<(f64, f64)>], at: f64) -> f64 {
    let of = |made: &Vec<(f64, f64)>| {
        let next = made.partition_point(|(then, _)| *then < at);
        match (made.get(next.wrapping_sub(1)), made.get(next)) {
            (Some(before), Some(after)) => {
                let part = (at - before.0) / (after.0 - before.0);
                before.1 + part * (after.1 - before.1)
            }
            (Some(one), None) | (None, Some(one)) => one.1,
            (None, None) => 0.0,
        }
    };
    made.iter().map(of).sum()
}

/// When all together had so many.
fn when(made: &[Vec<(f64, f64)>], count: f64) -> f64 {
    let mut times = made[0].iter().map(|(at, _)| *at);
    let (mut from, mut to) = (times.next().unwrap(), times.next_back().unwrap());
    for _ in 0..40 {
        let middle = f64::midpoint(from, to);
        if all(made, middle) < count {
            from = middle;
        } else {
            to = middle;
        }
    }
    to
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
