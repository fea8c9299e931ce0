//! What `io_uring` does is seen as what system calls do.

use std::process::Output;

use crate::{
    support::{Life, Netns, Trace, socktrace},
    uring_program,
};

/// May programs make rings here, and has the kernel what the program asks for (6.11)? Says so if not.
pub(crate) fn possible() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let numbers: Vec<u32> = release
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect();
    let possible = numbers >= vec![6, 11] && disabled.is_ok_and(|it| it.trim() != "2");
    if !possible {
        println!("skipped: io_uring is off (kernel.io_uring_disabled), or this is no Linux 6.11");
    }
    possible
}

/// Traces the program that does what `task` says.
#[track_caller]
fn traced(netns: &Netns, task: &str, options: &[&str]) -> Trace {
    Trace::of_run(|| output(netns, task, options))
}

/// What comes of that: rows, and what else the program says in JSON.
pub(crate) fn output(netns: &Netns, task: &str, options: &[&str]) -> Output {
    let mut tracer = netns.command(socktrace().to_str().unwrap());
    tracer.args(["trace", "-o", "json"]).args(options).arg("--");
    let mut output = uring_program::add_to(&mut tracer, task).output().unwrap();
    // The program says what it is, too.
    let lines = output.stdout.split_inclusive(|&byte| byte == b'\n');
    let json = lines.filter(|line| line.starts_with(b"{"));
    output.stdout = json.collect::<Vec<_>>().concat();
    output
}

/// The rows of the socket with this local port and this remote one.
fn between(trace: &Trace, local: i64, remote: i64) -> Life<'_> {
    let connected = trace
        .rows
        .iter()
        .find(|row| (row.number("lport"), row.number("rport")) == (Some(local), Some(remote)));
    let cookie = connected.expect("its rows").number("cookie");
    let rows = trace.rows.iter();
    Life {
        rows: rows.filter(|row| row.number("cookie") == cookie).collect(),
    }
}

fn port_of_listener(trace: &Trace) -> i64 {
    trace.socket("listener").row("end").number("lport").unwrap()
}

#[test]
fn by_io_uring_rows_are_those_of_the_calls() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let calls = traced(&netns, "life by calls", &[]);
    let ring = traced(&netns, "life by ring", &[]);
    for name in ["listener", "client", "accepted"] {
        let gists = |trace: &Trace| trace.socket(name).gists().collect::<Vec<_>>();
        let told = || format!("{name}: {}\n{:#?}", ring.stderr, ring.rows);
        assert_eq!(gists(&ring), gists(&calls), "{}", told());
        assert!(gists(&ring).contains(&"close:close".to_owned()));
        for trace in [&calls, &ring] {
            let socket = trace.socket(name);
            let pid = socket.rows[0]
                .number("pid")
                .or(socket.rows.last().unwrap().number("pid"));
            let fd = trace.said(&format!("fd of {name}"));
            let owned = socket
                .rows
                .iter()
                .filter(|row| row.text("owner") != Some("unknown"));
            for row in owned {
                row.expect("owner", "exact").expect("fd", fd);
                assert_eq!(row.number("pid"), pid);
            }
            socket
                .row("close")
                .expect("holders_left", 0)
                .expect("tid", trace.said("tid"));
            assert!(socket.row("end").number("lifetime_us").is_some());
        }
    }
    let listener = ring.said("listener");
    let accept = ring.socket("accepted");
    let accept = accept.row("accept");
    accept.expect("listener_cookie", listener);
    assert!(accept.number("queued_us").is_some());
    let connect = ring.socket("client");
    assert!(connect.row("connect").number("latency_us").is_some());
    ring.socket("listener").row("listen").expect("backlog", 16);
}

#[test]
fn whichever_thread_does_it_the_process_is_the_owner() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let calls = traced(&netns, "life by calls", &[]);
    for task in ["life by polled ring", "life by other threads"] {
        let ring = traced(&netns, task, &[]);
        let pid = ring.socket("client").row("socket").number("pid").unwrap();
        for name in ["listener", "client", "accepted"] {
            let socket = ring.socket(name);
            let mut gists: Vec<_> = socket.gists().collect();
            let mut expected: Vec<_> = calls.socket(name).gists().collect();
            if task.ends_with("threads") {
                // Rows of two threads, each on its CPU.
                gists.sort();
                expected.sort();
            }
            assert_eq!(gists, expected, "{name} {task}");
            socket
                .row("end")
                .expect("owner", "exact")
                .expect("pid", pid);
            let actor = socket.row("close").number("tid").unwrap();
            assert!(task.ends_with("threads") || actor != ring.said("tid"));
        }
        let accepted = ring.socket("accepted");
        let accept = accepted.row("accept");
        accept.expect("listener_cookie", ring.said("listener"));
        accept.expect("fd", ring.said("fd of accepted"));
    }
}

#[test]
fn by_io_uring_connects_fail_as_calls_do() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let calls = traced(&netns, "failures by calls", &[]);
    let ring = traced(&netns, "failures by ring", &[]);
    for (name, error, remote) in [
        ("refused", "ECONNREFUSED", "127.0.0.1"),
        ("unreachable", "ENETUNREACH", "192.0.2.1"),
    ] {
        let gists = |trace: &Trace| trace.socket(name).gists().collect::<Vec<_>>();
        assert_eq!(gists(&ring), gists(&calls), "{name}");
        let connect = ring.socket(name);
        let connect = connect.row(&format!("connect:{error}"));
        connect.expect("raddr", remote).expect("rport", 1);
        connect.expect("owner", "exact");
    }
}

#[test]
fn a_multishot_accept_makes_a_row_for_each_connection() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    // The kernel side follows what a followed process accepts, and so does user space.
    let trace = traced(&netns, "multishot", &[]);
    for name in ["first", "second", "third"] {
        let accepted = trace.socket(name);
        let accept = accepted.row("accept");
        accept.expect("owner", "exact");
        accept.expect("listener_cookie", trace.said("listener"));
        accept.expect("fd", trace.said(&format!("fd of {name}")));
        assert!(accept.number("queued_us").is_some());
    }
    assert_eq!(trace.of("accept").len(), 3);
}

#[test]
fn direct_descriptors_have_owners_but_no_number() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let trace = traced(&netns, "direct", &[]);
    let listener = port_of_listener(&trace);
    let pid = trace.socket("listener").row("end").number("pid").unwrap();
    for name in ["accepted by one", "accepted by many"] {
        let accepted = between(&trace, listener, trace.said(name));
        let accept = accepted.row("accept");
        accept.expect("owner", "exact").expect("pid", pid);
        accept.expect("listener_cookie", trace.said("listener"));
        accept.expect_null("fd");
    }
    let client = between(&trace, trace.said("client"), listener);
    client.all("owner", "exact").all("pid", pid);
    client.row("socket").expect_null("fd");
    client.row("connect").expect_null("error").expect_null("fd");
    client.row("close:close").expect_null("fd");
}

#[test]
fn a_batch_of_requests_is_told_when_it_is_done() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let trace = traced(&netns, "batch", &[]);
    let client = between(&trace, trace.said("client"), port_of_listener(&trace));
    // Completions are told together, when the states have changed.
    client.expect(
        "close>syn_sent syn_sent>established connect socket close:close established>fin_wait1 \
         fin_wait1>fin_wait2 fin_wait2>time_wait end",
    );
    client.all("owner", "exact");
    client.row("end").expect_null("lifetime_us");
    client.row("end").expect("role", "client");
}

#[test]
fn a_close_that_fails_is_none() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let trace = traced(&netns, "bad close", &[]);
    let listener = trace.socket("listener");
    let closes: Vec<_> = listener
        .gists()
        .filter(|it| it.starts_with("close:"))
        .collect();
    assert_eq!(closes, ["close:close"], "only that of the system call");
}

#[test]
fn sockets_without_states_are_seen_by_completions() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let trace = traced(&netns, "families", &["--proto", "udp,unix"]);
    let udp = trace.socket("udp");
    udp.expect("socket connect close:close end");
    udp.all("proto", "udp").all("owner", "exact");
    let connect = udp.row("connect").expect("rport", 53);
    connect.expect("raddr", "127.0.0.1").expect_null("error");
    udp.row("end")
        .expect("reason", "closed")
        .expect("role", "client");

    // Before its program asked it had no cookie.
    let unix = trace.socket("unix");
    unix.expect("connect close:close end");
    unix.all("proto", "unix").all("owner", "exact");
    let connect = unix.row("connect").expect_null("error");
    let at = connect.text("raddr").unwrap();
    assert!(at.starts_with("@socktrace-ring-"), "{at}");
    unix.row("close").expect("holders_left", 0);
    let end = unix.row("end").expect("role", "client");
    assert!(end.number("lifetime_us").is_some());

    let nowhere = trace.socket("nowhere");
    nowhere.expect("connect:ECONNREFUSED close:close end");
    let connect = nowhere.row("connect");
    assert_eq!(connect.text("raddr"), Some(&*format!("{at}x")));
    nowhere.row("end").expect_null("raddr");
}
