//! The snapshot beside `ss` and `/proc`, and what neither of them shows.

use std::{collections::BTreeSet, process::Command};

use socktrace::{
    probe::offsets,
    process::attribution::{Attribution, Started},
    source::snapshot::{
        Buffer, Detail, DiagError, Extras, Found, Held, Holder, Holders, Memory, Namespaces,
        Protocol, Protocols, Query, State, States, TimerKind, bound_sockets_are_listed,
        class::{Class, Inodes, Unlisted, ghosts, unlisted},
    },
};
use socktrace_common::socket::TcpState;

use crate::{
    scene::Scene,
    ss::Line,
    support::{Netns, run},
};

/// Everything of one namespace, and every descriptor of the machine.
struct Taken {
    rows: Vec<Found>,
    holders: Vec<Holder>,
    held: Inodes,
    used: u64,
}

fn holders() -> Vec<Holder> {
    let mut holders = Holders::new(&offsets::read().unwrap());
    assert_eq!(holders.fallback(), None);
    let mut found = Vec::new();
    let walked = holders.each(|holder| found.push(holder)).unwrap();
    assert_eq!(walked.rows, found.len());
    found
}

fn dump(namespaces: &mut Namespaces, netns: u32, query: Query) -> Vec<Found> {
    let namespace = namespaces.get_mut(netns).unwrap();
    let mut rows = Vec::new();
    match namespace.dump(query, &mut Buffer::default(), |row| rows.push(row)) {
        Ok(dumped) => assert_eq!((dumped.rows, dumped.malformed), (rows.len(), 0)),
        // Modules of their own, which may be missing; and 7.3 has no UDP-Lite any more.
        Err(DiagError::Unsupported) => {
            let missing = [Protocols::Raw, Protocols::Mptcp, Protocols::UdpLite];
            assert!(missing.contains(&query.protocol), "{query:?}");
        }
        Err(error) => panic!("{query:?}: {error}"),
    }
    rows
}

fn take(netns: &Netns) -> Taken {
    let mut namespaces = Namespaces::new();
    namespaces.refresh([]).unwrap();
    let netns = netns.number();
    let used = |namespaces: &mut Namespaces| {
        let namespace = namespaces.get_mut(netns).unwrap();
        namespace.population().unwrap().used
    };
    loop {
        let before = used(&mut namespaces);
        let mut rows: Vec<_> = Protocols::ALL
            .into_iter()
            .flat_map(|protocol| dump(&mut namespaces, netns, Query::all(protocol)))
            .collect();
        // A dump may show a socket twice.
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.cookie));
        assert!(rows.iter().all(|row| row.netns == netns));
        if used(&mut namespaces) != before {
            // Somebody else looks at all namespaces, with a netlink socket in each.
            continue;
        }
        let holders = holders();
        return Taken {
            rows,
            held: holders.iter().map(|holder| holder.inode).collect(),
            holders,
            used: before,
        };
    }
}

impl Taken {
    /// The only row with this cookie.
    #[track_caller]
    fn row(&self, cookie: u64) -> &Found {
        let rows: Vec<_> = self.rows.iter().filter(|it| it.cookie == cookie).collect();
        assert_eq!(rows.len(), 1, "{cookie:#x} among {:#?}", self.rows);
        rows[0]
    }

    /// The only row in this state.
    #[track_caller]
    fn in_state(&self, state: State) -> &Found {
        let rows: Vec<_> = self.rows.iter().filter(|it| it.state == state).collect();
        assert_eq!(rows.len(), 1, "{state:?} among {:#?}", self.rows);
        rows[0]
    }

    fn class(&self, found: &Found) -> Class {
        Class::of(found, &self.held)
    }

    /// Who holds an inode, in order.
    fn holders_of(&self, inode: u32) -> BTreeSet<(u32, u32)> {
        let holders = self.holders.iter().filter(|it| it.inode == inode);
        holders.map(|it| (it.pid, it.fd)).collect()
    }

    /// What a process holds and no dump shows.
    fn unlisted(&self, pid: u64) -> Vec<(u32, Unlisted)> {
        let listed = self.rows.iter().map(|row| row.inode).collect();
        unlisted(&self.holders, &listed)
            .filter(|(holder, _)| u64::from(holder.pid) == pid)
            .map(|(holder, class)| (holder.inode, class))
            .collect()
    }

    fn ghosts(&self) -> u64 {
        ghosts(self.used, self.rows.iter().map(Found::counted).sum())
    }
}

/// One of each kind that `ss` knows.
const ONE_OF_EACH: &str = r"
import tempfile
kept = []
def keep(*s): kept.extend(s); return s[0]
# Listening, established, never accepted, v4-mapped, IPv6.
l = listener(); c, a = pair(l)
l2 = listener(); waiting = keep(socket.socket()); waiting.connect(l2.getsockname())
l6 = listener(socket.AF_INET6, '::1'); c6, a6 = pair(l6)
both = listener(socket.AF_INET6, '::')
mapped = keep(socket.socket()); mapped.connect(('127.0.0.1', both.getsockname()[1]))
# CLOSE_WAIT and its minisock in FIN_WAIT2; TIME_WAIT.
c1, a1 = pair(l); c1.close()
c2, a2 = pair(l); c2.close(); a2.close()
# SYN_SENT: what is sent there comes back and is dropped. SYN_RECV: waits for data.
syn = keep(socket.socket()); syn.setblocking(False); syn.connect_ex(('192.0.2.1', 80))
deferred = listener(); deferred.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
half = keep(socket.socket()); half.connect(deferred.getsockname())
# An orphan in FIN_WAIT1: its peer takes no more.
l3 = socket.socket(); l3.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); l3.bind(('127.0.0.1', 0))
l3.listen(); c3, a3 = pair(l3); c3.setblocking(False)
for _ in range(5):
    try:
        while True: c3.send(b'x' * 65536)
    except BlockingIOError: time.sleep(0.05)
c3.close()
# Bound and nothing else.
bound = keep(socket.socket()); bound.bind(('127.0.0.1', 0))
# UDP, bound and connected, and on IPv6.
u = keep(socket.socket(type=socket.SOCK_DGRAM)); u.bind(('127.0.0.1', 0))
uc = keep(socket.socket(type=socket.SOCK_DGRAM)); uc.connect(u.getsockname()); uc.send(b'x')
u6 = keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)); u6.bind(('::', 0))
# Unix.
folder = tempfile.mkdtemp(); path = folder + '/s'
x = keep(socket.socket(socket.AF_UNIX)); x.bind(path); x.listen(3)
xc = keep(socket.socket(socket.AF_UNIX)); xc.connect(path)
xd = keep(socket.socket(socket.AF_UNIX)); xd.connect(path); xa, _ = x.accept()
abstract = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)); abstract.bind('\0a\0b')
keep(*socket.socketpair()); keep(*socket.socketpair(type=socket.SOCK_SEQPACKET))
os.unlink(path); os.rmdir(folder)
# Held by two, and on its way to nobody.
go, done = os.pipe()
if os.fork() == 0:
    os.close(done); os.read(go, 1); os._exit(0)
sent, (carrier, _end) = keep(socket.socket()), socket.socketpair()
sent.bind(('127.0.0.1', 0)); sent.listen()
flying = inode(sent)
socket.send_fds(carrier, [b'x'], [sent.fileno()]); sent.close()
time.sleep(0.1)
";

#[test]
fn every_row_of_ss_is_in_the_snapshot() {
    let netns = Netns::new();
    netns.sh("ip route add 192.0.2.0/24 dev lo");
    let scene = Scene::new(
        &netns,
        &format!("{ONE_OF_EACH}\nready(bound=cookie(bound), flying=flying)"),
    );
    let taken = take(&netns);
    let of_ss: BTreeSet<_> = netns
        .sh("ss -H -tuxanpe 2>/dev/null")
        .lines()
        .map(Line::of_ss)
        .collect();
    let listed = [Protocol::Tcp, Protocol::Udp, Protocol::Unix];
    let ours: BTreeSet<_> = taken
        .rows
        .iter()
        .filter(|row| listed.contains(&row.protocol))
        .filter(|row| row.state != State::BoundInactive)
        .map(|row| Line::of_found(row, taken.holders_of(row.inode)))
        .collect();
    let only_ss: Vec<_> = of_ss.difference(&ours).collect();
    let only_ours: Vec<_> = ours.difference(&of_ss).collect();
    assert!(
        only_ss.is_empty() && only_ours.is_empty(),
        "only ss: {only_ss:#?}\nonly ours: {only_ours:#?}"
    );
    let states: BTreeSet<_> = ours.iter().map(|line| line.state.as_str()).collect();
    let expected =
        "CLOSE-WAIT ESTAB FIN-WAIT-1 FIN-WAIT-2 LISTEN SYN-RECV SYN-SENT TIME-WAIT UNCONN";
    assert_eq!(states, expected.split(' ').collect());
    assert!(ours.iter().any(|line| line.holders.len() == 2));
    // ss cannot ask for these (iproute2 6.8), and older kernels cannot list them.
    if bound_sockets_are_listed().unwrap() {
        assert_eq!(taken.row(scene.said("bound")).state, State::BoundInactive);
    }
}

#[test]
fn every_row_has_its_class() {
    let netns = Netns::new();
    netns.sh("ip route add 192.0.2.0/24 dev lo");
    let scene = Scene::new(
        &netns,
        &format!("{ONE_OF_EACH}\nready(bound=cookie(bound), flying=flying, established=cookie(a))"),
    );
    let taken = take(&netns);
    let class = |state| taken.class(taken.in_state(State::Tcp(state)));
    assert_eq!(class(TcpState::CloseWait), Class::Held);
    assert_eq!(class(TcpState::SynSent), Class::Held);
    assert_eq!(class(TcpState::FinWait1), Class::Orphan);
    assert_eq!(class(TcpState::FinWait2), Class::Minisock);
    assert_eq!(class(TcpState::TimeWait), Class::Minisock);
    assert_eq!(taken.class(taken.in_state(State::Request)), Class::Request);
    for held in ["bound", "established"] {
        assert_eq!(taken.class(taken.row(scene.said(held))), Class::Held);
    }
    let flying = scene.inode("flying");
    let flying = taken.rows.iter().find(|row| row.inode == flying).unwrap();
    assert_eq!(taken.class(flying), Class::NoDescriptor);
    let unaccepted = taken
        .rows
        .iter()
        .filter(|row| row.protocol == Protocol::Tcp && taken.class(row) == Class::Unaccepted);
    // One of each listener.
    assert_eq!(unaccepted.count(), 2);
    let timer = taken
        .in_state(State::Tcp(TcpState::TimeWait))
        .timer
        .unwrap();
    assert_eq!(timer.kind, TimerKind::TimeWait);
    assert!((55_000..=60_000).contains(&timer.expires_ms), "{timer:?}");
    let timer = taken.in_state(State::Tcp(TcpState::SynSent)).timer.unwrap();
    assert_eq!(timer.kind, TimerKind::Retransmit);
    assert_eq!(taken.ghosts(), 0);
}

#[test]
fn ghosts_are_counted_and_explained() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
never = socket.socket()
refused = socket.socket(); refused.setblocking(False); refused.connect_ex(('127.0.0.1', 1))
l = listener(); c, a = pair(l)
a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); a.close()
udp = socket.socket(type=socket.SOCK_DGRAM)
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
ping = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
bound = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15); bound.bind((0, 0))
ready(pid=os.getpid(), never=inode(never), refused=inode(refused), reset=inode(c),
      udp=inode(udp), netlink=inode(netlink), raw=inode(raw), ping=inode(ping),
      packet=inode(packet), bound=inode(bound))
",
    );
    let taken = take(&netns);
    let mut found = taken.unlisted(scene.said("pid"));
    found.sort_by_key(|(inode, _)| *inode);
    let mut expected = [
        (scene.inode("never"), Unlisted::Idle),
        (scene.inode("refused"), Unlisted::Dead),
        (scene.inode("reset"), Unlisted::Dead),
        (scene.inode("udp"), Unlisted::Unbound),
        (scene.inode("netlink"), Unlisted::Other),
        (scene.inode("raw"), Unlisted::Raw),
        (scene.inode("ping"), Unlisted::Raw),
    ];
    expected.sort_by_key(|(inode, _)| *inode);
    assert_eq!(found, expected);
    assert_eq!(taken.ghosts(), expected.len() as u64);

    let by_inode = |name| {
        let inode = scene.inode(name);
        taken.rows.iter().find(|row| row.inode == inode).unwrap()
    };
    let packet = Detail::Packet {
        protocol: 3,
        interface: 0,
    };
    assert_eq!(by_inode("packet").detail, packet);
    let bound = by_inode("bound");
    assert!(
        matches!(bound.detail, Detail::Netlink { protocol: 15, port, .. } if port != 0),
        "{bound:?}"
    );
    assert_eq!(taken.class(bound), Class::Held);
}

#[test]
fn mptcp_connections_have_rows_and_so_have_their_subflows() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
l = socket.socket(proto=262); l.bind(('127.0.0.1', 0)); l.listen()
c = socket.socket(proto=262); c.connect(l.getsockname()); a, _ = l.accept()
c.send(b'x'); a.recv(1)
ready(listener=cookie(l), client=cookie(c), server=cookie(a), inode=inode(c))
",
    );
    let taken = take(&netns);
    for (name, state) in [
        ("listener", TcpState::Listen),
        ("client", TcpState::Established),
        ("server", TcpState::Established),
    ] {
        let row = taken.row(scene.said(name));
        assert_eq!(
            (row.protocol, row.state),
            (Protocol::Mptcp, State::Tcp(state))
        );
        assert_eq!(taken.class(row), Class::Held);
    }
    // One socket for its holder, two for the kernel: its subflow has its inode.
    let inode = scene.inode("inode");
    let rows = taken.rows.iter().filter(|row| row.inode == inode);
    let protocols: Vec<_> = rows.map(|row| row.protocol).collect();
    assert_eq!(protocols, [Protocol::Tcp, Protocol::Mptcp]);
    assert_eq!(taken.ghosts(), 0);
}

#[test]
fn only_what_is_asked_for_is_there() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r"
l = listener(); c, a = pair(l)
c.send(b'x' * 1000); a.recv(2000); a.send(b'y' * 10)
w, v = pair(l); w.close()
time.sleep(0.3)
ready(client=cookie(c), server=cookie(a), waits=cookie(v))
",
    );
    let mut namespaces = Namespaces::new();
    namespaces.refresh([]).unwrap();
    let netns = netns.number();
    let close_wait = Query::tcp(States::none().with(TcpState::CloseWait));
    let rows = dump(&mut namespaces, netns, close_wait);
    let cookies: Vec<_> = rows.iter().map(|row| row.cookie).collect();
    assert_eq!(cookies, [scene.said("waits")]);
    assert_eq!((rows[0].tcp, rows[0].memory), (None, None));

    let extras = Extras {
        tcp: true,
        memory: true,
    };
    let established = Query::tcp(States::none().with(TcpState::Established)).with(extras);
    for protocol in [Protocols::Tcp, Protocols::Tcp4] {
        let query = Query {
            protocol,
            ..established
        };
        let rows = dump(&mut namespaces, netns, query);
        assert_eq!(rows.len(), 2);
        let row = |name| {
            rows.iter()
                .find(|row| row.cookie == scene.said(name))
                .unwrap()
        };
        let client = row("client").tcp.unwrap();
        assert_eq!((client.bytes_acked, client.bytes_received), (1001, 10));
        assert!(
            (250..5000).contains(&client.last_data_recv_ms),
            "{client:?}"
        );
        assert!(client.rtt_us > 0 && client.min_rtt_us > 0, "{client:?}");
        assert_eq!(row("client").recv_queue, 10);
        let memory = row("client").memory.unwrap();
        assert!(memory.rmem > 10 && memory.drops == 0, "{memory:?}");
        assert_eq!(
            Memory { rmem: 0, ..memory },
            Memory {
                rmem: 0,
                ..row("client").memory.unwrap()
            }
        );
    }
    let query = Query {
        protocol: Protocols::Tcp6,
        ..established
    };
    assert_eq!(dump(&mut namespaces, netns, query), []);
}

#[test]
fn namespaces_are_found_by_process_by_name_and_by_socket() {
    let script = "l = listener(); c, a = pair(l); c.close(); a.close(); ready(it=cookie(l))";
    let (inhabited, empty, left) = (Netns::new(), Netns::new(), Netns::new());
    let scene = Scene::new(&inhabited, script);
    // Leaves a minisock behind, in a namespace that nothing but its name keeps alive.
    drop(Scene::new(&empty, script));
    let (first, second, third) = (inhabited.number(), empty.number(), left.number());
    let name = left.name().to_owned();
    // Goes elsewhere with its socket, and the name goes too.
    let mut nomad = Scene::new(
        &left,
        &format!(
            r"
import ctypes
l = listener()
assert ctypes.CDLL(None).setns(os.open('/proc/{home}/ns/net', os.O_RDONLY), 0) == 0
ready(it=cookie(l)); wait(); l.close(); ready(closed=1)
",
            home = std::process::id()
        ),
    );
    run(Command::new("umount").arg(format!("/run/netns/{name}")));

    let mut namespaces = Namespaces::new();
    let listeners = Query::tcp(States::none().with(TcpState::Listen));
    namespaces.refresh([]).unwrap();
    assert!(namespaces.get_mut(third).is_none());
    let holders = holders();
    namespaces
        .refresh(holders.iter().filter_map(Holder::lead))
        .unwrap();
    assert_eq!(namespaces.notes("seen", |_| true), Vec::<String>::new());
    let rows = dump(&mut namespaces, first, listeners);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].cookie, rows[0].netns), (scene.said("it"), first));
    let rows = dump(&mut namespaces, second, Query::all(Protocols::Tcp));
    assert_eq!(rows.len(), 1);
    assert!(rows[0].is_minisock());
    let rows = dump(&mut namespaces, third, listeners);
    assert_eq!((rows.len(), rows[0].cookie), (1, nomad.said("it")));
    let population = |namespaces: &mut Namespaces, netns| {
        let namespace = namespaces.get_mut(netns).unwrap();
        namespace.population().unwrap()
    };
    // Ours is one of them.
    assert_eq!(population(&mut namespaces, first).used, 2);
    assert_eq!(population(&mut namespaces, second).used, 1);
    assert_eq!(population(&mut namespaces, second).time_wait, 1);
    assert_eq!(population(&mut namespaces, first).tcp, 1);

    nomad.go();
    let holders = self::holders();
    namespaces
        .refresh(holders.iter().filter_map(Holder::lead))
        .unwrap();
    assert!(namespaces.get_mut(third).is_none());
    assert!(namespaces.get_mut(first).is_some());
    // `ip netns del` wants it back.
    run(Command::new("ip").args(["netns", "del", &name]));
    run(Command::new("ip").args(["netns", "add", &name]));
}

#[test]
fn the_iterator_sees_what_proc_shows_and_more() {
    let netns = Netns::new();
    let scene = Scene::new(
        &netns,
        r#"
import ctypes, shutil, tempfile, threading
s = socket.socket(); t = os.dup(s.fileno()); u = socket.socket(socket.AF_UNIX)
r, w = os.pipe()
# None of these is a socket or a pipe without a name.
folder = tempfile.mkdtemp(); os.mkfifo(folder + '/fifo'); f = os.open(folder + '/fifo', os.O_RDWR)
u.bind(folder + '/sock'); p = os.open(folder + '/sock', os.O_PATH); v = os.eventfd(0)
# A thread counts only once it has descriptors of its own.
stop = threading.Event(); both = threading.Barrier(3); own = {}
def same(): both.wait(); stop.wait()
def apart():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
    own.update(s=socket.socket(), tid=threading.get_native_id()); both.wait(); stop.wait()
for work in (same, apart): threading.Thread(target=work, daemon=True).start()
both.wait()
shutil.rmtree(folder)
ready(pid=os.getpid(), socket=inode(s), dup=t, pipe=os.fstat(r).st_ino, r=r, w=w,
      apart=os.stat(f'/proc/self/task/{own["tid"]}/fd/{own["s"].fileno()}').st_ino)
"#,
    );
    let pid = u32::try_from(scene.said("pid")).unwrap();
    let of_pid = |holders: Vec<Holder>| -> Vec<Holder> {
        holders.into_iter().filter(|it| it.pid == pid).collect()
    };
    let by_iterator = of_pid(holders());
    let mut by_proc = Vec::new();
    let mut fallback = Holders::from_proc();
    assert!(fallback.fallback().is_some());
    fallback.each(|holder| by_proc.push(holder)).unwrap();
    let by_proc = of_pid(by_proc);

    // The thread has copies of everything, and one more.
    let own = scene.inode("apart");
    let plain = |holders: &[Holder]| -> BTreeSet<_> {
        let holders = holders.iter().filter(|it| it.inode != own);
        holders
            .map(|it| (it.fd, it.inode, matches!(it.held, Held::Socket(_))))
            .collect()
    };
    assert_eq!(plain(&by_iterator), plain(&by_proc));
    let count = |inode| by_iterator.iter().filter(|it| it.inode == inode).count();
    assert_eq!((count(own), count(scene.inode("socket"))), (1, 4));
    let pipe = scene.inode("pipe");
    for holders in [&by_iterator, &by_proc] {
        for (fd, reads, writes) in [("r", true, false), ("w", false, true)] {
            let fd = scene.inode(fd);
            let end = holders
                .iter()
                .find(|it| it.fd == fd && it.inode == pipe)
                .unwrap();
            assert_eq!(end.held, Held::Pipe { reads, writes });
        }
    }
    let socket = by_iterator
        .iter()
        .find(|it| it.fd == scene.inode("dup"))
        .unwrap();
    let Held::Socket(Some(open)) = socket.held else {
        panic!("{socket:?}");
    };
    let started = Attribution::read(pid).started.unwrap();
    assert_eq!(socket.start_ns.map(Started::from_ns), Some(started));
    assert_eq!(
        (open.proto, open.family, open.socket_type, open.state),
        (6, 2, 1, 7)
    );
    assert_eq!(
        (open.netns, open.lport, open.shutdown),
        (netns.number(), None, 0)
    );
}
