//! What was open when a run began: nothing is missed in between, and nothing is told twice.

use std::{process::Command, thread, time::Duration};

use hashbrown::HashMap;

use crate::support::{Background, Dialogue, Netns, Row, rows, socktrace};

/// Opens connections as fast as it can until it is told to stop, says which, and then closes all
/// of them.
const OPENER: &str = r"
import os, select, socket, struct, sys
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
l = socket.create_server(('127.0.0.1', 0), backlog=64)
print('pid', os.getpid(), flush=True)
for line in sys.stdin:
    opened = []
    while not select.select([0], [], [], 0.001)[0] and len(opened) < 1500:
        c = socket.create_connection(l.getsockname()); a, _ = l.accept(); opened += [c, a]
    sys.stdin.readline()
    print('opened', *map(cookie, opened), flush=True)
    sys.stdin.readline()
    for s in opened: s.close()
    print('closed', flush=True)
os._exit(0)
";

/// How often the tracer is started while connections are opened.
const STARTS: usize = 50;

#[test]
fn a_connection_opened_at_any_moment_of_the_start_is_there_once() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", OPENER]);
    let mut opener = Dialogue::start(command);
    let pid = opener.hear("pid");
    let mut adopted = 0;
    for start in 0..STARTS {
        let mut tracer = Command::new(socktrace());
        tracer.args(["trace", "-o", "json", "--netns", netns.name()]);
        // Half of the starts follow one process, half of them everybody.
        if start % 2 == 0 {
            tracer.args(["-p", &pid]);
        }
        opener.say("open");
        let tracer = Background::start(tracer, "Ctrl-C");
        thread::sleep(Duration::from_millis(30));
        opener.say("stop");
        let opened = opener.hear("opened");
        opener.say("close");
        opener.hear("closed");
        // The last FINs cross after the last close() has returned. No row tells of an end that
        // does not come: then this waits in vain.
        let last: i64 = opened.split(' ').next_back().unwrap().parse().unwrap();
        let ended =
            |row: &Row| row.text("event") == Some("end") && row.number("cookie") == Some(last);
        tracer.wait("the last end", |rows| rows.iter().any(ended));
        let (json, stderr) = tracer.stop();
        assert!(stderr.contains("\nsocktrace: lost: 0\n"), "{stderr}");
        let told = rows(&json);
        let mut lives: HashMap<i64, Vec<&Row>> = HashMap::new();
        for row in &told {
            if let Some(cookie) = row.number("cookie") {
                lives.entry(cookie).or_default().push(row);
            }
        }
        for cookie in opened.split(' ') {
            let cookie: i64 = cookie.parse().unwrap();
            let life = lives.get(&cookie).map_or(&[][..], Vec::as_slice);
            adopted += usize::from(check(life, &pid, start));
        }
    }
    // Else nothing was open when the starts looked, and nothing has been tested.
    assert!(adopted > STARTS, "{adopted}");
}

/// One end, one birth or none, an owner from first to last; says whether it was adopted.
#[track_caller]
fn check(life: &[&Row], pid: &str, start: usize) -> bool {
    let count = |event: &str| {
        let rows = life.iter().filter(|row| row.text("event") == Some(event));
        rows.count()
    };
    assert_eq!(count("end"), 1, "start {start}: {life:?}");
    for event in ["socket", "connect", "accept", "close", "snapshot"] {
        assert!(count(event) <= 1, "start {start}: {event} of {life:?}");
    }
    let end = life.last().unwrap();
    end.expect("event", "end")
        .expect("pid", pid.parse::<i64>().unwrap());
    match end.text("owner") {
        Some("adopted") => true,
        Some("exact") => false,
        _ => panic!("start {start}: {life:?}"),
    }
}

/// Holds one of each that has been so for a while, and says which.
const OLD: &str = r"
import os, socket, struct, sys, time
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
l = socket.create_server(('127.0.0.1', 0))
def pair():
    c = socket.create_connection(l.getsockname()); return c, l.accept()[0]
established, e = pair()
c, close_wait = pair(); c.close()
time_wait, t = pair(); waits = cookie(time_wait); time_wait.close(); t.close()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0))
x = socket.socket(socket.AF_UNIX); x.bind('\0old'); x.listen()
time.sleep(31)
held = dict(listen=l, established=established, close_wait=close_wait, udp=u, unix=x)
print('pid', os.getpid(), flush=True)
print('cookies', *[f'{name}={cookie(s)}' for name, s in held.items()], f'time_wait={waits}', flush=True)
sys.stdin.readline(); os._exit(0)
";

#[test]
fn what_is_older_than_the_tracer_has_an_owner_and_an_age_from_below() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", OLD]);
    let mut old = Dialogue::start(command);
    let pid: i64 = old.hear("pid").parse().unwrap();
    let cookies = old.hear("cookies");
    let cookies: HashMap<&str, i64> = cookies
        .split(' ')
        .map(|word| word.split_once('=').unwrap())
        .map(|(name, cookie)| (name, cookie.parse().unwrap()))
        .collect();
    let list = |command: &mut Command| {
        let output = command.output().unwrap();
        rows(&String::from_utf8(output.stdout).unwrap())
    };
    let of = |rows: &'static [Row], name: &str| -> &'static Row {
        let mut rows = rows.iter();
        rows.find(|row| row.number("cookie") == Some(cookies[name]))
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let in_state = |row: &Row| row.float("state_seconds").unwrap();

    let mut sockets = Command::new(socktrace());
    sockets.args(["sockets", "-o", "json", "--netns", netns.name()]);
    let listed = list(&mut sockets).leak();
    for name in ["listen", "established", "close_wait", "udp", "unix"] {
        of(listed, name)
            .expect("pid", pid)
            .expect("owner", "adopted");
    }
    for name in ["close_wait", "time_wait"] {
        let seconds = in_state(of(listed, name));
        assert!((30.0..45.0).contains(&seconds), "{name}: {seconds}");
    }
    // What is left of it belongs to nobody.
    of(listed, "time_wait")
        .expect_null("pid")
        .expect("state", "time_wait");

    // `trace -p` begins with what the process holds.
    let mut trace = Command::new(socktrace());
    trace.args([
        "trace",
        "-o",
        "json",
        "--duration",
        "100ms",
        "-p",
        &pid.to_string(),
    ]);
    let told = list(&mut trace).leak();
    for name in ["listen", "established", "close_wait"] {
        let row = of(told, name);
        row.expect("event", "snapshot")
            .expect("learned", "open")
            .expect("new", name)
            .expect("pid", pid)
            .expect("owner", "adopted");
    }
    let row = of(told, "close_wait");
    assert!((30.0..45.0).contains(&in_state(row)), "{row:?}");
    assert!(row.float("age_seconds").unwrap() >= 30.0, "{row:?}");
}
