//! Lives of sockets that are not TCP.

use crate::support::{Netns, Row};

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
    // Of what has no ports, none is the right one.
    assert_eq!(seen(&["--proto", "all", "-D", "9"]), "udp");
    assert_eq!(
        seen(&["--proto", "all", "-4", "--event", "close"]),
        "tcp udp"
    );
}
