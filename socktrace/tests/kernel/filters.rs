//! What is not asked for is not shown, and what is asked for is.

use socktrace::{
    change::{Kind, Protocol},
    clock::Clock,
    field::records,
    pipeline::Pipeline,
    probe::{Plan, Probes, catalog::needed},
    select::Select,
    sink::Report,
    source::ringbuf::{Ring, SOON},
};

use crate::{
    reconcile::{Told, drain},
    support::{Background, Netns, inode, rows, run, runtime, socktrace},
};

/// A server and a client that are asked for nothing in particular.
const ECHO: &str = r"
l = listener(); c, a = pair(l)
six = listener(socket.AF_INET6, '::1'); d, b = pair(six)
say(client=cookie(c), server=cookie(a), port=l.getsockname()[1])
say(client6=cookie(d), port6=six.getsockname()[1])
c.close(); a.recv(1); a.close(); d.close()
";

#[test]
fn by_remote_port() {
    let netns = Netns::new();
    let trace = netns.trace_with(
        &["-D", "9"],
        r"
c = socket.socket(); say(nine=cookie(c)); c.connect_ex(('127.0.0.1', 9))
d = socket.socket(); say(ten=cookie(d)); d.connect_ex(('127.0.0.1', 10))
",
    );
    trace.socket("nine").row("connect").expect("rport", 9);
    assert!(
        trace.rows.iter().all(|row| row.number("rport") == Some(9)),
        "{:?}",
        trace.rows
    );
    // Its socket() came before it had a port, and still its whole life is known.
    let end = trace.socket("nine").row("end");
    assert!(end.number("lifetime_us").is_some());
}

#[test]
fn by_local_port() {
    let netns = Netns::new();
    let trace = netns.trace_with(
        &["-L", "5001"],
        r"
for port in (5001, 5002):
    l = socket.socket(); l.bind(('127.0.0.1', port)); l.listen(); c, a = pair(l)
",
    );
    assert_eq!(trace.of("accept").len(), 1);
    assert!(
        trace
            .rows
            .iter()
            .all(|row| row.number("lport") == Some(5001))
    );
}

#[test]
fn by_family() {
    let netns = Netns::new();
    for (option, family) in [("-4", "ipv4"), ("-6", "ipv6")] {
        let trace = netns.trace_with(&[option], ECHO);
        assert_eq!(trace.of("connect").len(), 1, "{option}");
        assert!(
            trace
                .rows
                .iter()
                .all(|row| row.text("family") == Some(family)),
            "{option}"
        );
    }
}

#[test]
fn by_event() {
    let trace = Netns::new().trace_with(&["--event", "accept,end"], ECHO);
    assert_eq!(trace.of("accept").len(), 2);
    assert_eq!(trace.of("end").len(), trace.rows.len() - 2);
    // What is not shown is still known.
    trace
        .socket("server")
        .row("end")
        .expect("role", "server")
        .expect("reason", "closed");
}

#[test]
fn by_state() {
    let trace = Netns::new().trace_with(&["--state", "CLOSE-WAIT"], ECHO);
    assert!(!trace.rows.is_empty());
    for row in &trace.rows {
        row.expect("event", "state").expect("new", "close_wait");
    }
}

#[test]
fn by_condition_and_name() {
    let netns = Netns::new();
    let trace = netns.trace_with(
        &["--filter", "event==connect", "--filter", "raddr==::1"],
        ECHO,
    );
    assert_eq!(trace.rows.len(), 1);
    let trace = netns.trace_with(&["--comm", "nobody-is-called-so"], ECHO);
    assert!(trace.rows.is_empty(), "{:?}", trace.rows);
}

#[test]
fn by_process_with_its_future_children_only() {
    let netns = Netns::new();
    let script = "
import os, socket, subprocess, sys, time
print('ready', os.getpid(), flush=True); sys.stdin.readline()
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
code = 'import socket,sys; socket.create_connection((\"127.0.0.1\", int(sys.argv[1])))'
subprocess.run([sys.executable, '-c', code, str(l.getsockname()[1])])
a, _ = l.accept(); print('done', l.getsockname()[1], flush=True); sys.stdin.readline()
";
    let mut command = netns.command("python3");
    command.args(["-c", script]);
    let mut traced = crate::support::Dialogue::start(command);
    let pid = traced.hear("ready");
    let mut tracer = std::process::Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "-p", &pid]);
    let tracer = Background::start(tracer, "Ctrl-C");
    traced.say("go");
    let port: i64 = traced.hear("done").parse().unwrap();
    // Somebody else's, at the same time.
    run(netns.command("python3").args([
        "-c",
        "import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
    ]));
    traced.say("end");
    let (json, _) = tracer.stop();
    let rows = rows(&json);
    let pid: i64 = pid.parse().unwrap();
    let of = |event: &str| {
        rows.iter()
            .filter(|row| row.text("event") == Some(event))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("accept").len(), 1);
    of("accept")[0].expect("pid", pid);
    let connects = of("connect");
    assert_eq!(connects.len(), 1, "{connects:?}");
    connects[0].expect("rport", port);
    assert_ne!(connects[0].number("pid"), Some(pid));
    // The child of the listener is followed before it is accepted.
    let born = rows
        .iter()
        .find(|row| row.text("old") == Some("listen") && row.text("new") == Some("syn_recv"));
    born.expect("a handshake").expect("lport", port);
}

#[test]
fn children_are_followed_whatever_is_shown() {
    let netns = Netns::new();
    let code = "import socket; l = socket.create_server(('127.0.0.1', 0)); \
        c = socket.create_connection(l.getsockname()); l.accept()[0].close()";
    let script = format!("python3 -c \"{code}\"; true");
    let mut command = netns.command(socktrace().to_str().unwrap());
    let lives = run(command.args(["life", "-o", "json", "--", "sh", "-c", &script]));
    let roles: Vec<_> = rows(&lives)
        .iter()
        .map(|row| row.text("role").unwrap().to_owned())
        .collect();
    assert_eq!(roles.len(), 2, "{lives}");
}

#[test]
fn what_is_not_shown_is_not_kept() {
    let netns = Netns::new();
    let inum = inode(&format!("/run/netns/{}", netns.name()));
    let runtime = runtime();
    let _guard = runtime.enter();
    let wanted: Vec<_> = Kind::OF_SOCKETS
        .iter()
        .flat_map(|kind| records(*kind))
        .copied()
        .collect();
    for (local_ports, remote_ports) in [(vec![5001], vec![]), (vec![], vec![5001])] {
        let plan = Plan {
            kinds: needed(&wanted, Protocol::Tcp.bit()),
            protocols: Protocol::Tcp.bit(),
            local_ports,
            remote_ports,
            ring_bytes: 1 << 20,
            ..Plan::default()
        };
        let mut probes = Probes::attach(&plan).unwrap();
        let mut ring = Ring::new(probes.take_ring().unwrap(), SOON).unwrap();
        let select = Select::default();
        let mut pipeline = Pipeline::new(select, Report::Trace, None, Clock::now());
        let burst = "import socket; l = socket.create_server(('127.0.0.1', 0))\n\
            for _ in range(50): c = socket.create_connection(l.getsockname()); l.accept()";
        run(netns.command("python3").args(["-c", burst]));
        let told = Told::default();
        let mut seen = 0;
        // The last FINs are on their way still.
        for _ in 0..50 {
            drain(&mut ring, &mut pipeline, &told);
            let table = pipeline.table().iter();
            let ours = table.filter(|entry| i64::from(entry.info().netns) == inum);
            seen = ours.count();
            if seen == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let counters = probes.counters().unwrap();
        // A lost end leaves a socket, and the machine may do more than this test.
        assert!(
            seen as u64 <= counters.lost(),
            "{plan:?} {seen} {counters:?}"
        );
        // Of each client at least its birth had no port yet, and passed.
        assert!(told.records.get() >= 50, "{counters:?}");
    }
}
