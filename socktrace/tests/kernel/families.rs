//! Lives of sockets that are not TCP.

use serde_json::Value;

use crate::support::{Background, Dialogue, Life, Netns, Row, Trace, rows, socktrace};

/// Beginning of the scripts.
const DGRAM: &str =
    "def udp(family=socket.AF_INET): return socket.socket(family, socket.SOCK_DGRAM)\n";

#[test]
fn a_udp_socket_that_is_bound_and_sends() {
    let trace = Netns::new().trace(&format!(
        "{DGRAM}{}",
        r"
a = udp(); a.bind(('127.0.0.1', 0))
b = udp(); b.sendto(b'x', a.getsockname()); a.recv(1)
say(a=cookie(a), b=cookie(b), port=a.getsockname()[1], autobound=b.getsockname()[1])
say(fd=a.fileno(), inode=os.fstat(a.fileno()).st_ino, pid=os.getpid())
say(netns=os.stat('/proc/self/ns/net').st_ino)
a.close(); b.close()
"
    ));
    let a = trace.socket("a");
    a.expect("socket bind close:close end");
    a.all("proto", "udp").all("family", "ipv4");
    a.all("pid", trace.said("pid")).all("owner", "exact");
    a.all("fd", trace.said("fd"))
        .all("inode", trace.said("inode"));
    a.all("netns", trace.said("netns"));
    a.row("socket").expect("type", "dgram").expect_null("lport");
    a.row("bind")
        .expect("laddr", "127.0.0.1")
        .expect("lport", trace.said("port"));
    a.row("close").expect("holders_left", 0);
    let end = a.row("end");
    end.expect("reason", "closed")
        .expect("role", "unknown")
        .expect("lport", trace.said("port"));
    end.expect_null("tx_bytes").expect_null("rx_bytes");
    assert!(end.number("lifetime_us").is_some());

    // sendto() is no event: what it bound is told with whatever comes next.
    let b = trace.socket("b");
    b.expect("socket close:close end");
    b.row("socket").expect_null("lport");
    let close = b.row("close");
    close
        .expect("laddr", "0.0.0.0")
        .expect("lport", trace.said("autobound"))
        .expect_null("rport");
}

#[test]
fn a_udp_socket_that_connects_again_and_disconnects() {
    let trace = Netns::new().trace(&format!(
        "{DGRAM}{}",
        r"
import ctypes
s = udp(); s.connect(('127.0.0.1', 53)); first = s.getsockname()[1]
say(s=cookie(s), first=first)
s.connect(('127.0.0.2', 54))
assert ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16) == 0  # AF_UNSPEC
s.close()
"
    ));
    let s = trace.socket("s");
    s.expect("socket connect connect connect close:close end");
    let connects: Vec<&&Row> = s
        .rows
        .iter()
        .filter(|row| row.text("event") == Some("connect"))
        .collect();
    connects[0]
        .expect("laddr", "127.0.0.1")
        .expect("lport", trace.said("first"));
    connects[0]
        .expect("raddr", "127.0.0.1")
        .expect("rport", 53)
        .expect_null("latency_us");
    connects[1].expect("raddr", "127.0.0.2").expect("rport", 54);
    // A disconnect gives the port back that the kernel chose.
    for row in [connects[2], &s.row("close"), &s.row("end")] {
        row.expect_null("raddr")
            .expect_null("rport")
            .expect_null("lport");
    }
    s.row("end").expect("role", "client");
}

#[test]
fn udp_over_ipv6_and_mapped_ipv4() {
    let trace = Netns::new().trace(&format!(
        "{DGRAM}{}",
        r"
six = udp(socket.AF_INET6); six.bind(('::1', 0)); say(six=cookie(six)); six.close()
bound = udp(socket.AF_INET6); bound.bind(('::ffff:127.0.0.1', 0)); say(bound=cookie(bound)); bound.close()
sent = udp(socket.AF_INET6); sent.connect(('::ffff:127.0.0.1', 53)); say(sent=cookie(sent)); sent.close()
lite = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 136) if os.path.exists('/proc/net/udplite') else None
if lite: say(lite=cookie(lite)); lite.close()
say(udplite=int(lite is not None))
"
    ));
    let six = trace.socket("six");
    six.expect("socket bind close:close end")
        .all("family", "ipv6");
    six.row("bind").expect("laddr", "::1");
    let bound = trace.socket("bound");
    bound
        .expect("socket bind close:close end")
        .row("bind")
        .expect("laddr", "127.0.0.1")
        .expect("family", "ipv4");
    let sent = trace.socket("sent");
    sent.expect("socket connect close:close end");
    sent.row("connect")
        .expect("raddr", "127.0.0.1")
        .expect("laddr", "127.0.0.1")
        .expect("family", "ipv4");
    // Gone from Linux 6.17 on.
    if trace.said("udplite") == 1 {
        trace
            .socket("lite")
            .expect("socket close:close end")
            .all("proto", "udplite");
    }
}

#[test]
fn a_udp_socket_of_a_process_that_just_exits() {
    let trace = Netns::new().trace(&format!(
        "{DGRAM}s = udp(); s.bind(('127.0.0.1', 0)); say(s=cookie(s)); os._exit(0)"
    ));
    let s = trace.socket("s");
    s.expect("socket bind close:exit end");
    s.row("end").expect("reason", "closed");
}

#[test]
fn a_udp_socket_that_is_killed_with_its_process() {
    let trace = Netns::new().trace(&format!(
        "{DGRAM}{}",
        r"
pid = os.fork()
if pid == 0:
    s = udp(); s.bind(('127.0.0.1', 0)); say(s=cookie(s)); os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
"
    ));
    trace.socket("s").expect("socket bind close:exit end");
}

#[test]
fn no_port_is_left_for_a_udp_socket() {
    let netns = Netns::new();
    netns.sh("echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range");
    let trace = netns.trace(&format!(
        "{DGRAM}{}",
        r"
all = [udp() for _ in range(10)]
for s in all: s.connect(('127.0.0.1', 53))
last = udp(); say(last=cookie(last), error=last.connect_ex(('127.0.0.1', 53)))
bound = udp(); say(bound=cookie(bound))
try: bound.bind(('127.0.0.1', 0))
except OSError as e: say(bind=e.errno)
last.close(); bound.close()
"
    ));
    assert_eq!((trace.said("error"), trace.said("bind")), (11, 98));
    let last = trace.socket("last");
    last.expect("socket connect:EAGAIN close:close end");
    let connect = last.row("connect");
    connect
        .expect("raddr", "127.0.0.1")
        .expect("rport", 53)
        .expect_null("lport");
    // It went nowhere.
    last.row("close").expect_null("rport");
    trace
        .socket("bound")
        .expect("socket bind:EADDRINUSE close:close end");
}

#[test]
fn a_raw_socket_has_no_ports_and_is_not_tcp() {
    let trace = Netns::new().trace(
        r"
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP); say(raw=cookie(raw))
raw.bind(('127.0.0.1', 0)); raw.close()
ping = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6); say(ping=cookie(ping))
",
    );
    let raw = trace.socket("raw");
    raw.expect("socket bind close:close end")
        .all("proto", "raw");
    raw.row("socket").expect("type", "raw");
    raw.row("bind")
        .expect("laddr", "127.0.0.1")
        .expect_null("lport");
    trace
        .socket("ping")
        .expect("socket close:close end")
        .all("family", "ipv6");
}

#[test]
fn only_the_protocols_that_are_asked_for() {
    let script = format!(
        "{DGRAM}{}",
        r"
u = udp(); u.connect(('127.0.0.1', 9)); t = socket.socket(); x = socket.socket(socket.AF_UNIX)
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
for s in (u, t, x, n): s.close()
"
    );
    let netns = Netns::new();
    let seen = |options: &[&str]| {
        let trace = netns.trace_with(options, &script);
        let mut protocols: Vec<_> = trace
            .rows
            .iter()
            .map(|row| row.text("proto").unwrap().to_owned())
            .collect();
        protocols.dedup();
        protocols.sort_unstable();
        protocols.dedup();
        protocols.join(" ")
    };
    assert_eq!(seen(&[]), "tcp udp");
    assert_eq!(seen(&["--proto", "udp"]), "udp");
    assert_eq!(seen(&["--proto", "tcp"]), "tcp");
    assert_eq!(seen(&["--proto", "unix,netlink"]), "netlink unix");
    assert_eq!(seen(&["--proto", "all"]), "netlink tcp udp unix");
    // Whoever asks for ends alone hears of those, too, that only a close() tells.
    let ends = ["--proto", "all", "--event", "end"];
    assert_eq!(seen(&ends), "netlink tcp udp unix");
    // Of what has no ports, none is the right one.
    assert_eq!(seen(&["--proto", "all", "-D", "9"]), "udp");
    assert_eq!(
        seen(&["--proto", "all", "-4", "--event", "close"]),
        "tcp udp"
    );
}

/// Follows Unix sockets.
const UNIX: [&str; 2] = ["--proto", "unix"];

/// The life of a socket without a cookie: what it says of itself is its inode number.
#[track_caller]
fn of_inode<'a>(trace: &'a Trace, name: &str) -> Life<'a> {
    let inode = trace.said(name);
    let rows: Vec<_> = trace
        .rows
        .iter()
        .filter(|row| row.number("inode") == Some(inode))
        .collect();
    assert!(!rows.is_empty(), "no rows for {name}, inode {inode}");
    Life { rows }
}

#[test]
fn a_unix_stream_over_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s\u{1b}[2J\nock");
    let path = path.to_str().unwrap();
    let trace = Netns::new().trace_with(
        &UNIX,
        &format!(
            // What JSON says is what Python says.
            "path = {}\n{}",
            serde_json::to_string(path).unwrap(),
            r"
def ino(s): return os.fstat(s.fileno()).st_ino
l = socket.socket(socket.AF_UNIX); l.bind(path); l.listen(5)
c = socket.socket(socket.AF_UNIX); c.connect(path); a, _ = l.accept()
say(l=ino(l), c=ino(c), a=ino(a), pid=os.getpid())
say(cookie=cookie(c))
c.close(); a.close(); l.close()
"
        ),
    );
    let listener = of_inode(&trace, "l");
    listener.expect("socket bind listen close:close end");
    listener
        .all("proto", "unix")
        .all("family", "unix")
        .all("pid", trace.said("pid"));
    listener
        .row("socket")
        .expect("type", "stream")
        .expect_null("laddr");
    listener.row("bind").expect("laddr", path);
    listener.row("listen").expect("backlog", 5);
    listener
        .row("end")
        .expect("role", "listener")
        .expect("laddr", path);

    let client = of_inode(&trace, "c");
    client.expect("socket connect close:close end");
    client
        .row("connect")
        .expect("raddr", path)
        .expect_null("laddr");
    // Somebody asked for a cookie, and the socket is still the same.
    let end = client.row("end");
    end.expect("cookie", trace.said("cookie"))
        .expect("raddr", path);
    end.expect("role", "client")
        .expect("reason", "closed")
        .expect_null("tx_bytes");
    assert!(end.number("lifetime_us").is_some());

    let server = of_inode(&trace, "a");
    server.expect("accept close:close end").all("laddr", path);
    server
        .row("accept")
        .expect_null("queued_us")
        .expect_null("raddr");
    server.row("end").expect("role", "server");
}

#[test]
fn unix_sockets_with_abstract_names_and_unix_sockets_that_fail() {
    let trace = Netns::new().trace_with(
        &UNIX,
        r"
import ctypes
def ino(s): return os.fstat(s.fileno()).st_ino
l = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); l.bind('\0socktrace\0x'); l.listen()
c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); c.connect('\0socktrace\0x')
again = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try: again.bind('\0socktrace\0x')
except OSError as e: pass
nobody = socket.socket(socket.AF_UNIX); nobody.connect_ex('/nowhere/at/all')
address = struct.pack('=H', socket.AF_UNIX) + b'/' + b'x' * 107
assert ctypes.CDLL(None).connect(nobody.fileno(), address, len(address)) != 0
full = socket.socket(socket.AF_UNIX); full.bind('\0' + 'y' * 107); full.listen()
auto = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); auto.bind('')
say(l=ino(l), c=ino(c), again=ino(again), nobody=ino(nobody), auto=ino(auto), full=ino(full))
for s in (c, l, again, nobody, auto, full): s.close()
",
    );
    let listener = of_inode(&trace, "l");
    listener.row("bind").expect("laddr", "@socktrace\0x");
    listener.row("socket").expect("type", "seqpacket");
    of_inode(&trace, "c")
        .row("connect")
        .expect("raddr", "@socktrace\0x");
    let again = of_inode(&trace, "again");
    again.expect("socket bind:EADDRINUSE close:close end");
    again.row("bind").expect("laddr", "@socktrace\0x");
    again.row("end").expect_null("laddr");
    let nobody = of_inode(&trace, "nobody");
    nobody.expect("socket connect:ENOENT connect:ENOENT close:close end");
    nobody.row("end").expect_null("raddr");
    // As long as it may be, without a NUL at its end.
    let long = format!("/{}", "x".repeat(107));
    nobody.rows[1].expect("raddr", "/nowhere/at/all");
    nobody.rows[2].expect("raddr", long);
    let full = format!("@{}", "y".repeat(107));
    of_inode(&trace, "full").row("bind").expect("laddr", full);
    // The kernel chose it.
    let auto = of_inode(&trace, "auto").row("bind").text("laddr").unwrap();
    assert!(auto.len() == 6 && auto.starts_with('@'), "{auto}");
}

#[test]
fn unix_datagrams_that_connect_and_disconnect() {
    let trace = Netns::new().trace_with(
        &UNIX,
        r"
import ctypes
def ino(s): return os.fstat(s.fileno()).st_ino
a = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); a.bind('\0one')
b = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); b.connect('\0one')
say(a=ino(a), b=ino(b))
assert ctypes.CDLL(None).connect(b.fileno(), bytes(16), 16) == 0
b.close(); a.close()
",
    );
    of_inode(&trace, "a")
        .expect("socket bind close:close end")
        .row("end")
        .expect("laddr", "@one");
    let b = of_inode(&trace, "b");
    b.expect("socket connect connect close:close end");
    b.rows[1].expect("raddr", "@one");
    b.rows[2].expect_null("raddr");
    b.row("end").expect("role", "client").expect_null("raddr");
}

#[test]
fn a_pair_of_unix_sockets_of_which_one_is_sent() {
    let trace = Netns::new().trace_with(
        &UNIX,
        r"
def ino(s): return os.fstat(s.fileno()).st_ino
a, b = socket.socketpair(); x, y = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
say(a=ino(a), b=ino(b), x=ino(x), y=ino(y), fa=a.fileno(), fb=b.fileno())
socket.send_fds(a, [b'!'], [x.fileno()]); x.close()
_, [fd], _, _ = socket.recv_fds(b, 1, 1); x = socket.socket(fileno=fd)
a.close(); b.close(); y.close(); say(sent=fd); x.close()
",
    );
    for (name, fd) in [("a", "fa"), ("b", "fb")] {
        let end = of_inode(&trace, name);
        end.expect("socket close:close end")
            .row("socket")
            .expect("fd", trace.said(fd));
        end.row("socket").expect("type", "stream");
    }
    // In flight it is held by a message.
    let sent = of_inode(&trace, "x");
    sent.expect("socket close:close close:close end");
    sent.rows[1].expect("holders_left", 1);
    sent.rows[2]
        .expect("holders_left", 0)
        .expect("fd", trace.said("sent"));
    of_inode(&trace, "y").expect("socket close:close end");
}

#[test]
fn a_unix_socket_that_a_child_holds_on_to() {
    let trace = Netns::new().trace_with(
        &UNIX,
        r"
def ino(s): return os.fstat(s.fileno()).st_ino
a, b = socket.socketpair(); say(a=ino(a))
go = os.pipe()
if os.fork() == 0:
    os.read(go[0], 1); a.close(); os._exit(0)
a.close(); os.write(go[1], b'!'); os.wait()
",
    );
    let a = of_inode(&trace, "a");
    a.expect("socket close:close close:close end");
    a.rows[1].expect("holders_left", 1);
    a.rows[2].expect("holders_left", 0);
}

#[test]
fn netlink_and_packet_sockets() {
    let trace = Netns::new().trace_with(
        &["--proto", "netlink,packet,other"],
        r"
def ino(s): return os.fstat(s.fileno()).st_ino
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); n.bind((0, 0))
p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); p.bind(('lo', 0))
say(n=ino(n), p=ino(p)); n.close(); p.close()
",
    );
    let netlink = of_inode(&trace, "n");
    netlink
        .expect("socket bind close:close end")
        .all("proto", "netlink")
        .all("family", "other");
    netlink.all("laddr", Value::Null);
    let packet = of_inode(&trace, "p");
    packet
        .expect("socket bind close:close end")
        .all("proto", "packet")
        .all("family", "other");
    packet.row("socket").expect("type", "raw");
}

#[test]
fn without_cgroup_v2_or_the_right_to_it_the_last_close_tells_the_end() {
    let unmounted = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "umount -a -t cgroup2 && exec \"$@\"",
        "sh",
    ];
    let unprivileged = [
        "setpriv",
        "--bounding-set=-net_admin,-sys_admin",
        "--inh-caps=-net_admin,-sys_admin",
    ];
    for wrapper in [&unmounted[..], &unprivileged] {
        let trace = Netns::new().trace_under(
            wrapper,
            &format!(
                "{DGRAM}{}",
                r"
def ino(s): return os.fstat(s.fileno()).st_ino
s = udp(); s.bind(('127.0.0.1', 0)); copy = s.dup(); say(s=ino(s), fd=s.fileno())
s.close(); copy.close()
left = udp(); say(left=ino(left)); os._exit(0)
"
            ),
        );
        assert!(trace.stderr.contains("sock_release"), "{}", trace.stderr);
        let s = of_inode(&trace, "s");
        s.expect("socket bind close:close close:close end");
        s.rows[2].expect("holders_left", 1);
        // Nobody saw it end, so nobody says that it did.
        of_inode(&trace, "left").expect("socket close:exit");
        assert!(trace.stderr.contains("still open: 1\n"), "{}", trace.stderr);
    }
}

#[test]
fn what_is_not_asked_for_is_dropped_in_the_kernel() {
    let script =
        "for _ in range(300): socket.socket().connect_ex(('127.0.0.1', 9)); socket.socketpair()";
    let trace = Netns::new().trace_with(&["--proto", "udp"], script);
    let ledger = trace
        .stderr
        .lines()
        .find_map(|line| line.split_once("emitted "));
    let emitted = ledger.and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    // A process, its exec and its exit.
    assert!(
        emitted.is_some_and(|emitted| emitted < 20),
        "{}",
        trace.stderr
    );
    assert!(trace.rows.is_empty(), "{:?}", trace.rows);
}

#[test]
fn sockets_that_were_open_first() {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args([
        "-c",
        r"
import os, socket, struct, sys
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0))
x = socket.socket(socket.AF_UNIX); x.bind('\0socktrace-older'); x.listen()
print('pid', os.getpid(), flush=True)
if not sys.stdin.readline(): os._exit(0)
print('cookies', cookie(u), cookie(x), flush=True)
u.close(); x.close(); print('done', flush=True)
sys.stdin.readline()
",
    ]);
    let mut older = Dialogue::start(command);
    let pid = older.hear("pid");
    let mut tracer = std::process::Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--proto", "udp,unix", "-p", &pid]);
    let tracer = Background::start(tracer, "Ctrl-C");
    older.say("go");
    let told = older.hear("cookies");
    older.hear("done");
    older.say("end");
    let (json, _) = tracer.stop();
    let rows = rows(&json);
    for (cookie, role) in told.split(' ').zip(["unknown", "listener"]) {
        let cookie: i64 = cookie.parse().unwrap();
        let its: Vec<_> = rows
            .iter()
            .filter(|row| row.number("cookie") == Some(cookie))
            .collect();
        Life { rows: its.clone() }.expect("snapshot close:close end");
        its[0].expect("learned", "open");
        its[0].expect_null("old").expect_null("state_seconds");
        for row in its {
            row.expect("owner", "adopted")
                .expect("pid", pid.parse::<i64>().unwrap());
        }
        let end = rows
            .iter()
            .find(|row| row.number("cookie") == Some(cookie) && row.text("event") == Some("end"));
        end.unwrap()
            .expect("role", role)
            .expect("reason", "closed")
            .expect_null("lifetime_us");
    }
    // Nobody told of the bind.
    let names = rows.iter().filter(|row| row.text("proto") == Some("unix"));
    for row in names {
        row.expect("laddr", "@socktrace-older");
    }
}

#[test]
fn an_mptcp_connection_beside_its_subflows() {
    let trace = Netns::new().trace(
        r"
l = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); l.bind(('127.0.0.1', 0)); l.listen(4)
c = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); c.connect(l.getsockname()); a, _ = l.accept()
def ino(s): return os.fstat(s.fileno()).st_ino
say(l=ino(l), c=ino(c), a=ino(a), port=l.getsockname()[1], pid=os.getpid())
c.close(); a.recv(1); a.close(); l.close()
",
    );
    // The first subflow has the same inode.
    let of_mptcp = |name: &str| {
        let mut life = of_inode(&trace, name);
        life.rows.retain(|row| row.text("proto") == Some("mptcp"));
        life
    };
    let listener = of_mptcp("l");
    listener
        .expect("socket bind listen close:close end")
        .all("proto", "mptcp");
    listener.row("end").expect("role", "listener");
    let client = of_mptcp("c");
    client
        .expect("socket connect close:close end")
        .all("pid", trace.said("pid"));
    client
        .row("connect")
        .expect("rport", trace.said("port"))
        .expect("raddr", "127.0.0.1");
    client.row("end").expect("role", "client");
    // It had no cookie when it was accepted, unlike what socket() makes.
    let server = of_mptcp("a");
    server
        .row("end")
        .expect("role", "server")
        .expect("owner", "exact");
    // Their subflows have states.
    let subflows = trace.of("state");
    assert!(subflows.iter().all(|row| row.text("proto") == Some("tcp")));
    assert!(
        subflows
            .iter()
            .any(|row| row.text("new") == Some("established")),
        "{subflows:?}"
    );
}
