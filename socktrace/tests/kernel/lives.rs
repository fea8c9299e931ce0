//! Whole lives of TCP sockets, each with the events that the kernel gives it.

use crate::support::{Netns, inode};

/// What a client sees of a connection that it closes first.
const CLIENT: &str = "socket close>syn_sent syn_sent>established connect \
    close:close established>fin_wait1 fin_wait1>fin_wait2 fin_wait2>time_wait end";
/// What its server sees.
const SERVER: &str = "listen>syn_recv syn_recv>established accept \
    established>close_wait close:close close_wait>last_ack last_ack>close end";

#[test]
fn a_client_and_a_server_on_loopback() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(listener=cookie(l), client=cookie(c), server=cookie(a), pid=os.getpid())
say(port=l.getsockname()[1], client_port=c.getsockname()[1])
say(lfd=l.fileno(), cfd=c.fileno(), afd=a.fileno(), inode=os.fstat(a.fileno()).st_ino)
say(netns=os.stat('/proc/self/ns/net').st_ino)
c.send(b'hello'); a.recv(9); a.send(b'abc'); c.recv(9)
c.close(); a.recv(1); a.close(); l.close()
",
    );
    let pid = trace.said("pid");

    let listener = trace.socket("listener");
    listener.expect("socket bind close>listen listen close:close listen>close end");
    listener
        .all("pid", pid)
        .all("comm", "python3")
        .all("owner", "exact");
    listener
        .row("listen")
        .expect("backlog", 16)
        .expect("lport", trace.said("port"));
    listener
        .row("close:close")
        .expect("fd", trace.said("lfd"))
        .expect("holders_left", 0);
    listener
        .row("end")
        .expect("role", "listener")
        .expect("reason", "closed");

    let client = trace.socket("client");
    client
        .expect(CLIENT)
        .all("pid", pid)
        .all("fd", trace.said("cfd"));
    client
        .all("netns", trace.said("netns"))
        .all("family", "ipv4")
        .all("proto", "tcp");
    client
        .row("socket")
        .expect("type", "stream")
        .expect_null("lport");
    let connect = client.row("connect");
    connect
        .expect("rport", trace.said("port"))
        .expect("lport", trace.said("client_port"));
    assert!((1..1_000_000).contains(&connect.number("latency_us").unwrap()));
    let end = client.row("end");
    end.expect("role", "client").expect("reason", "closed");
    end.expect("tx_bytes", 5).expect("rx_bytes", 3);
    assert!(end.number("lifetime_us").unwrap() >= connect.number("latency_us").unwrap());

    let server = trace.socket("server");
    server.expect(SERVER);
    for born in ["listen>syn_recv", "syn_recv>established"] {
        // Nobody owns a child before it is accepted.
        server
            .row(born)
            .expect_null("pid")
            .expect("owner", "unknown");
    }
    let accept = server.row("accept");
    accept
        .expect("pid", pid)
        .expect("fd", trace.said("afd"))
        .expect("inode", trace.said("inode"));
    accept.expect("listener_cookie", trace.said("listener"));
    assert!(accept.number("queued_us").is_some());
    server
        .row("end")
        .expect("role", "server")
        .expect("tx_bytes", 3)
        .expect("rx_bytes", 5);
}

#[test]
fn ipv6() {
    let trace = Netns::new().trace(
        r"
l = listener(socket.AF_INET6, '::1'); c, a = pair(l)
say(client=cookie(c), server=cookie(a))
c.close(); a.recv(1); a.close()
",
    );
    let client = trace.socket("client");
    client.expect(CLIENT).all("family", "ipv6");
    client
        .row("connect")
        .expect("laddr", "::1")
        .expect("raddr", "::1");
    trace.socket("server").expect(SERVER).all("laddr", "::1");
}

#[test]
fn an_ipv4_mapped_connection_is_shown_as_ipv4() {
    let trace = Netns::new().trace(
        r"
l = socket.socket(socket.AF_INET6); l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
l.bind(('::', 0)); l.listen()
c = socket.socket(socket.AF_INET6); c.connect(('::ffff:127.0.0.1', l.getsockname()[1]))
a, _ = l.accept()
say(listener=cookie(l), client=cookie(c), server=cookie(a))
c.close(); a.recv(1); a.close()
",
    );
    trace
        .socket("listener")
        .row("listen")
        .expect("laddr", "::")
        .expect("family", "ipv6");
    let connect = trace.socket("client").row("connect");
    connect
        .expect("laddr", "127.0.0.1")
        .expect("raddr", "127.0.0.1")
        .expect("family", "ipv4");
    trace
        .socket("server")
        .expect(SERVER)
        .all("family", "ipv4")
        .all("raddr", "127.0.0.1");
}

#[test]
fn a_refused_connect() {
    let trace = Netns::new().trace(
        r"
c = socket.socket(); say(client=cookie(c), fd=c.fileno())
try: c.connect(('127.0.0.1', 9))
except ConnectionRefusedError: pass
c.close()
",
    );
    let client = trace.socket("client");
    client.expect("socket close>syn_sent syn_sent>close connect:ECONNREFUSED close:close end");
    let connect = client.row("connect");
    connect
        .expect("rport", 9)
        .expect("raddr", "127.0.0.1")
        .expect("fd", trace.said("fd"));
    assert!(connect.number("latency_us").is_some());
    client
        .row("end")
        .expect("reason", "refused")
        .expect("role", "client");
}

#[test]
fn a_connect_without_a_route_changes_no_state() {
    let trace = Netns::new().trace(
        r"
c = socket.socket(); say(client=cookie(c))
say(errno=c.connect_ex(('192.0.2.1', 443)))
",
    );
    assert_eq!(trace.said("errno"), 101);
    let client = trace.socket("client");
    client.expect("socket connect:ENETUNREACH close:close end");
    client
        .row("connect")
        .expect("raddr", "192.0.2.1")
        .expect("rport", 443);
}

#[test]
fn a_connect_that_runs_out_of_ports() {
    let netns = Netns::new();
    netns.sh("sysctl -qw net.ipv4.ip_local_port_range='40000 40009'");
    let trace = netns.trace(
        r"
l = socket.socket(); l.bind(('127.0.0.1', 5000)); l.listen(64)
held = [socket.create_connection(('127.0.0.1', 5000)) for _ in range(10)]
c = socket.socket(); say(client=cookie(c), errno=c.connect_ex(('127.0.0.1', 5000)))
",
    );
    assert_eq!(trace.said("errno"), 99);
    let client = trace.socket("client");
    client.expect("socket close>syn_sent syn_sent>close connect:EADDRNOTAVAIL close:close end");
    let connect = client.row("connect");
    connect.expect("rport", 5000).expect_null("lport");
    assert!(connect.number("latency_us").is_some());
    let ok = trace
        .of("connect")
        .iter()
        .filter(|row| row.text("error").is_none())
        .count();
    assert_eq!(ok, 10);
}

/// A listener whose accept queue is full, so that the next SYN is dropped without an answer.
const FULL_LISTENER: &str = "
l = listener(backlog=0)
held = [socket.create_connection(l.getsockname())]
";

#[test]
fn a_non_blocking_connect_is_judged_at_its_outcome() {
    let trace = Netns::new().trace(&format!(
        r"{FULL_LISTENER}
c = socket.socket(); c.setblocking(False)
say(client=cookie(c), errno=c.connect_ex(l.getsockname()))
time.sleep(0.1); l.accept()
select.select([], [c], []); say(again=c.connect_ex(l.getsockname()))
r = socket.socket(); r.setblocking(False)
say(refused=cookie(r), begun=r.connect_ex(('127.0.0.1', 9)))
select.select([], [r], []); say(failed=r.connect_ex(('127.0.0.1', 9)))
"
    ));
    assert_eq!((trace.said("errno"), trace.said("again")), (115, 0));
    let client = trace.socket("client").row("connect");
    client.expect_null("error");
    // The SYN is sent again after a second, when there is room.
    assert!(
        (900_000..3_000_000).contains(&client.number("latency_us").unwrap()),
        "{client:?}"
    );
    assert_eq!((trace.said("begun"), trace.said("failed")), (115, 111));
    trace
        .socket("refused")
        .row("connect")
        .expect("error", "ECONNREFUSED");
}

#[test]
fn a_connect_that_nobody_answers() {
    let trace = Netns::new().trace(&format!(
        r"{FULL_LISTENER}
c = socket.socket(); c.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
say(client=cookie(c), errno=c.connect_ex(l.getsockname()))
"
    ));
    assert_eq!(trace.said("errno"), 110);
    let client = trace.socket("client");
    client.row("connect").expect("error", "ETIMEDOUT");
    client.row("end").expect("reason", "timeout");
}

#[test]
fn a_socket_shared_by_fork_ends_when_the_last_holder_lets_go() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), server=cookie(a), parent=os.getpid())
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.read(r, 1); c.close(); os._exit(0)
say(child=child)
c.close(); time.sleep(0.1); os.write(w, b'x'); os.wait(); a.recv(1)
",
    );
    let client = trace.socket("client");
    let (parent, child) = (trace.said("parent"), trace.said("child"));
    client.expect(
        "socket close>syn_sent syn_sent>established connect \
         close:close close:close established>fin_wait1 fin_wait1>fin_wait2 \
         fin_wait2>time_wait end",
    );
    // The owner stays who connected; who let go is told beside.
    client.all("pid", parent);
    let closes: Vec<_> = client
        .rows
        .iter()
        .filter(|r| r.text("event") == Some("close"))
        .collect();
    closes[0].expect("holders_left", 1);
    assert_eq!(closes[0].number("actor_pid"), None);
    closes[1]
        .expect("holders_left", 0)
        .expect("actor_pid", child);
    client
        .row("established>fin_wait1")
        .expect("actor_pid", child);
    // What the child inherited and kept goes when it exits.
    let server = trace.socket("server");
    let by_child = server.row("close:exit");
    by_child.expect("actor_pid", child).expect("pid", parent);
}

#[test]
fn exit_without_close() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(listener=cookie(l), client=cookie(c), server=cookie(a), pid=os.getpid())
os._exit(0)
",
    );
    for name in ["listener", "client", "server"] {
        let life = trace.socket(name);
        life.row("close:exit").expect("pid", trace.said("pid"));
        let kinds: Vec<_> = life
            .rows
            .iter()
            .filter_map(|row| row.text("event"))
            .collect();
        assert_eq!(kinds.last(), Some(&"end"), "{name}");
    }
}

#[test]
fn exec_closes_what_is_close_on_exec() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l); os.set_inheritable(a.fileno(), True)
say(client=cookie(c), server=cookie(a), pid=os.getpid())
os.execvp('sleep', ['sleep', '0.1'])
",
    );
    let client = trace.socket("client");
    client.expect(
        "socket close>syn_sent syn_sent>established connect \
         close:exec established>fin_wait1 fin_wait1>fin_wait2 fin_wait2>time_wait end",
    );
    client
        .row("close:exec")
        .expect("pid", trace.said("pid"))
        .expect("comm", "python3");
    // What stays open belongs to the same process under its new name.
    let kept = trace.socket("server").row("close:exit");
    kept.expect("pid", trace.said("pid"))
        .expect("comm", "sleep");
}

#[test]
fn dup2_over_a_socket_closes_it() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), fd=c.fileno())
n = os.open('/dev/null', os.O_RDONLY)
os.dup2(n, n); os.dup2(c.fileno(), c.fileno())
os.dup2(n, c.fileno(), inheritable=False)
",
    );
    let client = trace.socket("client");
    client.expect(
        "socket close>syn_sent syn_sent>established connect \
         close:dup established>fin_wait1 fin_wait1>fin_wait2 fin_wait2>time_wait end",
    );
    client
        .row("close:dup")
        .expect("fd", trace.said("fd"))
        .expect("holders_left", 0);
}

#[test]
fn close_range_closes_what_is_in_its_range() {
    let trace = Netns::new().trace(
        r"
import ctypes
l = listener(); c, a = pair(l)
say(listener=cookie(l), client=cookie(c), server=cookie(a))
libc = ctypes.CDLL(None)
assert libc.syscall(436, c.fileno(), 2**32 - 1, 0) == 0
os._exit(0)
",
    );
    trace.socket("client").row("close:close_range");
    trace.socket("server").row("close:close_range");
    trace.socket("listener").row("close:exit");
}

#[test]
fn linger_zero_resets() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), server=cookie(a))
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()
time.sleep(0.05); a.close()
",
    );
    let client = trace.socket("client");
    client.expect(
        "socket close>syn_sent syn_sent>established connect \
         close:close established>close end",
    );
    client.row("end").expect("reason", "aborted");
    let server = trace.socket("server");
    server.expect("listen>syn_recv syn_recv>established accept established>close close:close end");
    server.row("end").expect("reason", "reset");
}

#[test]
fn a_half_close_by_shutdown() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), server=cookie(a), pid=os.getpid())
c.shutdown(socket.SHUT_WR); a.recv(1); a.send(b'more'); a.close()
c.recv(9); time.sleep(0.05); c.close()
",
    );
    let client = trace.socket("client");
    client.expect(
        "socket close>syn_sent syn_sent>established connect \
         established>fin_wait1 fin_wait1>fin_wait2 fin_wait2>time_wait close:close end",
    );
    client
        .row("established>fin_wait1")
        .expect("pid", trace.said("pid"));
    client
        .row("end")
        .expect("rx_bytes", 4)
        .expect("tx_bytes", 0);
    trace
        .socket("server")
        .row("end")
        .expect("tx_bytes", 4)
        .expect("rx_bytes", 0);
}

#[test]
fn the_peer_closes_first() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), server=cookie(a))
a.close(); c.recv(1); c.close()
",
    );
    trace.socket("client").expect(
        "socket close>syn_sent syn_sent>established connect \
         established>close_wait close:close close_wait>last_ack last_ack>close end",
    );
    trace.socket("server").expect(
        "listen>syn_recv syn_recv>established accept \
         close:close established>fin_wait1 fin_wait1>fin_wait2 fin_wait2>time_wait end",
    );
}

#[test]
fn both_close_at_once() {
    let trace = Netns::new().trace(
        r"
l = listener(); c, a = pair(l)
say(client=cookie(c), server=cookie(a))
# Both FINs are lost. Whichever is sent again first meets a side that has sent its own.
os.system('ip link set lo down'); c.close(); a.close(); os.system('ip link set lo up')
time.sleep(1.5)
",
    );
    let lives = [trace.socket("client"), trace.socket("server")];
    for life in &lives {
        life.row("established>fin_wait1");
        life.row("end").expect("reason", "closed");
    }
    let closing = lives
        .iter()
        .find(|life| life.gists().any(|gist| gist == "fin_wait1>closing"));
    closing
        .expect("one side is closing")
        .row("closing>time_wait");
}

#[test]
fn tcp_fast_open() {
    let netns = Netns::new();
    netns.sh("sysctl -qw net.ipv4.tcp_fastopen=3");
    let trace = netns.trace(
        r"
l = socket.socket(); l.setsockopt(socket.IPPROTO_TCP, 23, 16); l.bind(('127.0.0.1', 0)); l.listen()
for turn in ('first', 'second'):
    c = socket.socket(); c.sendto(b'data', socket.MSG_FASTOPEN, l.getsockname())
    a, _ = l.accept(); assert a.recv(9) == b'data'
    say(**{turn: cookie(c), turn + '_server': cookie(a)})
    c.close(); a.recv(1); a.close()
",
    );
    for turn in ["first", "second"] {
        let client = trace.socket(turn);
        client
            .row("connect")
            .expect("error", serde_json::Value::Null);
        client
            .row("end")
            .expect("tx_bytes", 4)
            .expect("role", "client");
        let server = trace.socket(&format!("{turn}_server"));
        server.row("accept");
        server
            .row("end")
            .expect("rx_bytes", 4)
            .expect("role", "server");
    }
}

#[test]
fn a_connection_that_is_never_accepted() {
    let trace = Netns::new().trace(
        r"
l = listener(); c = socket.socket(); c.connect(l.getsockname())
say(client=cookie(c)); time.sleep(0.05); l.close(); time.sleep(0.05)
",
    );
    // Its cookie is nobody's to ask for; it is the only one that began in a listener.
    let born: Vec<_> = trace
        .of("state")
        .into_iter()
        .filter(|r| r.text("old") == Some("listen") && r.text("new") == Some("syn_recv"))
        .collect();
    assert_eq!(born.len(), 1);
    let cookie = born[0].number("cookie");
    let rows: Vec<_> = trace
        .rows
        .iter()
        .filter(|row| row.number("cookie") == cookie)
        .collect();
    for row in &rows {
        row.expect_null("pid").expect("owner", "unknown");
    }
    let kinds: Vec<_> = rows.iter().filter_map(|row| row.text("event")).collect();
    assert_eq!(kinds, ["state", "state", "state", "end"]);
    rows[3].expect("role", "server").expect("reason", "aborted");
    trace.socket("client").row("end").expect("reason", "reset");
}

#[test]
fn bind_and_listen_that_fail() {
    let trace = Netns::new().trace(
        r"
l = listener(); say(port=l.getsockname()[1])
b = socket.socket(); say(second=cookie(b))
try: b.bind(l.getsockname())
except OSError as e: say(errno=e.errno)
",
    );
    assert_eq!(trace.said("errno"), 98);
    let second = trace.socket("second");
    second.expect("socket bind:EADDRINUSE close:close end");
    second
        .row("end")
        .expect("role", "unknown")
        .expect("reason", "closed");
}

#[test]
fn threads_are_reported_under_their_process() {
    let trace = Netns::new().trace(
        r"
import threading
l = listener()
def work():
    open('/proc/thread-self/comm', 'w').write('worker')
    c = socket.socket(); c.connect(l.getsockname())
    say(client=cookie(c), tid=threading.get_native_id()); c.close()
t = threading.Thread(target=work); t.start(); t.join(); say(pid=os.getpid())
",
    );
    let connect = trace.socket("client").row("connect");
    connect
        .expect("pid", trace.said("pid"))
        .expect("comm", "python3");
    let socket = trace.socket("client").row("socket");
    socket.expect("tid", trace.said("tid"));
    assert_ne!(trace.said("tid"), trace.said("pid"));
}

#[test]
fn the_namespace_is_the_sockets_not_the_tasks() {
    let other = Netns::new();
    let netns = Netns::new();
    let path = format!("/run/netns/{}", other.name());
    let trace = netns.trace(&format!(
        r"
import ctypes
c = socket.socket(); say(client=cookie(c))
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open('{path}', os.O_RDONLY)
assert libc.setns(fd, 0) == 0
c.connect_ex(('127.0.0.1', 9))
"
    ));
    let home = inode(&format!("/run/netns/{}", netns.name()));
    trace.socket("client").all("netns", home);
}
