//! `sockets`: what is open now, as a user sees it.

use crate::{
    listed::sockets,
    support::{Dialogue, Netns},
};

/// Holds one of each, tells their cookies, and waits.
const HOLDER: &str = r"
import os, socket, struct, sys
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname()); a, _ = l.accept(); c.close()
waiting = socket.create_connection(l.getsockname())
idle = socket.socket()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0))
x = socket.socket(socket.AF_UNIX); x.bind('\0name\x1b[31m'); x.listen()
child = os.fork()
if child == 0:
    sys.stdin.readline(); os._exit(0)
print('pids', os.getpid(), child, flush=True)
for name, s in (('listener', l), ('close_wait', a), ('idle', idle), ('udp', u), ('unix', x)):
    print(name, cookie(s), s.fileno(), flush=True)
sys.stdin.readline(); os.wait()
";

/// The numbers after a word.
fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

#[test]
fn what_is_open_is_listed_with_all_its_holders() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", HOLDER]);
    let mut holder = Dialogue::start(command);
    let pids = numbers(&holder.hear("pids"));
    let mut told = |name: &str| numbers(&holder.hear(name));
    let listed = sockets(&netns, &[]);
    let find = |cookie: i64| {
        let found = listed
            .iter()
            .find(|row| row.number("cookie") == Some(cookie));
        found.unwrap_or_else(|| panic!("no {cookie} among {listed:?}"))
    };
    for (name, proto, state) in [
        ("listener", "tcp", Some("listen")),
        ("close_wait", "tcp", Some("close_wait")),
        // No dump of the kernel shows this one, nor does ss.
        ("idle", "tcp", Some("close")),
        ("udp", "udp", None),
        ("unix", "unix", Some("listen")),
    ] {
        let [cookie, fd] = told(name)[..] else {
            panic!("{name}");
        };
        let row = find(cookie);
        row.expect("proto", proto).expect("owner", "adopted");
        row.expect("pid", pids[0].min(pids[1]))
            .expect("comm", "python3");
        assert_eq!(row.text("state"), state, "{name}");
        // The child holds what its parent held.
        let held = row.holders();
        let expected: Vec<_> = pids.iter().map(|&pid| (pid, fd)).collect();
        assert_eq!(held, expected, "{name}");
    }
    let unaccepted = listed
        .iter()
        .find(|row| row.text("class") == Some("unaccepted"));
    let unaccepted = unaccepted.expect("one waits in the accept queue");
    unaccepted
        .expect("role", "server")
        .expect("owner", "unknown")
        .expect_null("pid");
    assert!(unaccepted.holders().is_empty());
    let named = listed.iter().find(|row| row.text("path").is_some());
    named.expect("a name").expect("path", "@name\u{1b}[31m");
    holder.say("end");
}

#[test]
fn the_filters_of_ss_work() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", HOLDER]);
    let mut holder = Dialogue::start(command);
    let pids = numbers(&holder.hear("pids"));
    for name in ["listener", "close_wait", "idle", "udp", "unix"] {
        holder.hear(name);
    }
    let states = |arguments: &[&str]| -> Vec<String> {
        let listed = sockets(&netns, arguments);
        let states = listed
            .iter()
            .map(|row| row.text("state").unwrap_or("-").to_owned());
        states.collect()
    };
    assert_eq!(states(&["state", "close-wait"]), ["close_wait"]);
    assert_eq!(states(&["-tl"]), ["listen"]);
    assert_eq!(states(&["-u"]), ["-"]);
    assert_eq!(states(&["-x"]), ["listen"]);
    let listener = &sockets(&netns, &["-tl"])[0];
    let port = format!(":{}", listener.number("lport").unwrap());
    assert_eq!(
        states(&["-t", "state", "connected", "dport", "=", &port]).len(),
        2
    );
    let pid = pids[0].to_string();
    assert!(!sockets(&netns, &["-p", &pid]).is_empty());
    assert!(sockets(&netns, &["--comm", "nobody"]).is_empty());
    holder.say("end");
}

#[test]
fn ages_are_bounds_from_below() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", HOLDER]);
    let mut holder = Dialogue::start(command);
    holder.hear("pids");
    for name in ["listener", "close_wait", "idle", "udp", "unix"] {
        holder.hear(name);
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let listed = sockets(&netns, &["state", "close-wait"]);
    for key in ["age_seconds", "state_seconds"] {
        let seconds = listed[0].float(key).unwrap();
        assert!((1.4..10.0).contains(&seconds), "{key}: {seconds}");
    }
    listed[0]
        .expect("age_exact", false)
        .expect("complete", false);
    holder.say("end");
}
