//! The daemon while namespaces and processes come and go: what it counted is right, and what it took is
//! given back.

#![allow(clippy::float_cmp, reason = "metrics are counts")]

use std::{fs, thread, time::Duration};

use crate::{
    daemon::{Daemon, wait},
    support::{Netns, python},
};

const NAMESPACES: u32 = 20;
/// In each namespace.
const PROCESSES: u32 = 100;

/// So many processes, some at a time: each connects to the first one, and is gone.
const COMERS: &str = r"
open('/proc/self/comm', 'w').write('comer')
l = listener()
count = int(sys.argv[1]); alive = 0
for n in range(count):
    if alive == 8: os.wait(); alive -= 1
    if os.fork() == 0:
        c, a = pair(l); c.close(); a.close(); os._exit(0)
    alive += 1
    time.sleep(0.003)
for n in range(alive): os.wait()
";

/// A namespace in which processes come and go, and which is gone then.
fn round() {
    let netns = Netns::new();
    let mut comers = python(&netns, COMERS);
    let output = comers.arg(PROCESSES.to_string()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

/// What the daemon has in memory without files, kB.
fn anonymous_kb(daemon: &Daemon) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn descriptors(daemon: &Daemon) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    // One that was closed meanwhile has no name any more.
    let names = folder.filter_map(|it| fs::read_link(it.unwrap().path()).ok());
    names.map(|it| it.display().to_string()).collect()
}

#[test]
fn two_thousand_processes_and_twenty_namespaces_come_and_go_and_leave_their_counts_and_nothing_else()
 {
    let daemon =
        Daemon::start("[detect]\nevery = \"1s\"\nshare = 1.0\n[metrics]\nowner = [\"comm\"]\n");
    // What is made once is made by now.
    round();
    thread::sleep(Duration::from_secs(2));
    let (memory, open) = (anonymous_kb(&daemon), descriptors(&daemon).len());
    for _ in 1..NAMESPACES {
        round();
    }

    let owner = "owner=\"comer\"";
    let of = |name: &str, label: &str| daemon.metric(name, &[owner, label]);
    wait("their sockets are still there", || {
        of("socktrace_sockets", "") == 0.0
    });
    let made = f64::from(NAMESPACES * PROCESSES);
    let lost = daemon.metric("socktrace_events_lost_total", &[]);
    let counted = [
        ("socktrace_connects_total", "result=\"ok\"", made),
        ("socktrace_accepts_total", "", made),
        ("socktrace_socket_opened_total", "role=\"client\"", made),
        ("socktrace_socket_opened_total", "role=\"server\"", made),
        (
            "socktrace_socket_opened_total",
            "role=\"listener\"",
            NAMESPACES.into(),
        ),
        ("socktrace_socket_ended_total", "role=\"client\"", made),
        ("socktrace_socket_ended_total", "role=\"server\"", made),
        (
            "socktrace_socket_ended_total",
            "role=\"listener\"",
            NAMESPACES.into(),
        ),
    ];
    for (name, label, expected) in counted {
        let is = of(name, label);
        // What the machine lost in such a storm is at most what is missing here.
        assert!(
            is <= expected && is + lost >= expected,
            "{name}{{{label}}} {is}, {lost} lost"
        );
    }

    // The books are read each second, while others make events: twice the same, and in balance.
    wait("the books do not balance", || {
        let text = daemon.get("/metrics");
        let sum = |name: &str| -> f64 {
            let series = text.lines().filter(|line| line.starts_with(name));
            let values =
                series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
            values.sum()
        };
        let calls = sum("socktrace_hook_calls_total");
        calls > made && calls == sum("socktrace_hook_outcomes_total")
    });

    // No namespace is kept, nor anything else.
    wait("descriptors are kept", || {
        let now = descriptors(&daemon);
        now.len() <= open + 2 && !now.iter().any(|name| name.starts_with("net:["))
    });
    let grown = || anonymous_kb(&daemon) - memory;
    wait(&format!("{} kB are kept", grown()), || grown() < 8_000);
}
