//! After a loss the table is what the kernel says, not what is left of the events.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io,
    process::Command,
    rc::Rc,
    time::Duration,
};

use hashbrown::HashMap;
use socktrace::{
    change::{Change, Kind, What},
    clock::{Clock, monotonic_ns},
    endpoint::Endpoint,
    field::records,
    inventory::{Want, list},
    pipeline::Pipeline,
    probe::{Plan, Probes, catalog::needed},
    process::Ask,
    select::Select,
    sink::{Report, Sink},
    source::{
        Item,
        ringbuf::{Ring, SOON},
        snapshot::Protocol,
    },
    table::Entry,
};
use socktrace_common::socket::TcpState;

use crate::support::{
    Background, Dialogue, Life, Netns, Row, inode, python, rows, runtime, socktrace,
};

#[test]
fn what_a_full_ring_lost_is_learned_from_a_snapshot() {
    let netns = Netns::new();
    let mut script = python(
        &netns,
        r"
for line in sys.stdin:
    l = listener(backlog=64)
    held = []
    for n in range(3000):
        c, a = pair(l)
        if n % 300: c.close(); a.close()
        else: held += [c, a]
    for c in held[::4]: c.close()
    print('held', *[cookie(s) for s in held if s.fileno() >= 0], flush=True)
os._exit(0)
",
    );
    let mut lives = Dialogue::start({
        script.env("PYTHONUNBUFFERED", "1");
        script
    });
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--ring-size", "4"]);
    tracer.args(["--netns", netns.name()]);
    let tracer = Background::start(tracer, "Ctrl-C");
    // Nobody drains the ring meanwhile, so what is lost depends on no machine's speed.
    tracer.pause();
    lives.say("live");
    let held = lives.hear("held");
    tracer.resume();
    // A repair begins within a second of the loss, or later if it took long before.
    tracer.wait("no repair", |told| {
        let last = |event| {
            let rows = told.iter().filter(|row| row.text("event") == Some(event));
            rows.filter_map(|row| row.number("mono_ns")).max()
        };
        last("snapshot") > last("lost")
    });
    // And is told to its end.
    std::thread::sleep(Duration::from_millis(500));
    let (json, summary) = tracer.stop();
    let told = rows(&json);
    let lost = told.iter().filter(|row| row.text("event") == Some("lost"));
    let lost: i64 = lost.filter_map(|row| row.number("count")).sum();
    assert!(lost > 1000, "{summary}");
    assert!(summary.contains(&format!("lost: {lost}\n")), "{summary}");
    assert!(summary.contains("snapshots corrected: "), "{summary}");
    // The last that is told of each is how it stands.
    let mut last = HashMap::new();
    for row in &told {
        if let Some(cookie) = row.number("cookie") {
            last.insert(cookie, row);
        }
    }
    for cookie in held.split(' ') {
        let row = last[&cookie.parse::<i64>().unwrap()];
        assert_ne!(row.text("event"), Some("end"), "{row:?}");
        assert!(row.number("pid").is_some(), "{row:?}");
    }
}

/// A hundred thousand lives of every kind; at the end some of each stay.
const LIVES: &str = r"
if not sys.stdin.readline(): os._exit(0)
l = listener(backlog=64); other = listener(socket.AF_INET6, '::1')
nobody = socket.socket(); nobody.bind(('127.0.0.1', 0)); refuses = nobody.getsockname()
lives = 0
while lives < 100_000:
    c, a = pair(l); c.close(); a.close()
    c, a = pair(l); a.close(); c.close()
    c, a = pair(other); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close(); a.close()
    r = socket.socket()
    try: r.connect(refuses)
    except ConnectionRefusedError: pass
    r.close(); socket.socket().close()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); u.close()
    for s in socket.socketpair(): s.close()
    lives += 11
keep = [pair(l) for _ in range(20)] + [pair(other) for _ in range(20)]
for c, a in keep[:5]: c.close()
for c, a in keep[5:8]: c.shutdown(socket.SHUT_WR)
for c, a in keep[20:25]:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()
waiting = [socket.create_connection(l.getsockname()) for _ in range(3)]
udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6)]
for u in udp[:5]: u.bind(('127.0.0.1', 0))
udp[1].connect(udp[0].getsockname())
unix = [socket.socketpair() for _ in range(5)]
x = socket.socket(socket.AF_UNIX); x.bind('\0lives'); x.listen()
y = socket.socket(socket.AF_UNIX); y.connect('\0lives')
child = os.fork()
if child == 0:
    sys.stdin.readline(); os._exit(0)
ghosts = [nobody, socket.socket(), udp[5]] + [a for c, a in keep[20:25]]
print('ghosts', *map(cookie, ghosts), flush=True)
sys.stdin.readline(); os._exit(0)
";

/// What a run told, added up.
#[derive(Default)]
pub(crate) struct Told {
    lost: Cell<u64>,
    pub(crate) records: Cell<u64>,
}

struct Adder(Rc<Told>);

impl Sink for Adder {
    fn row(&mut self, change: &Change, _: &Clock) -> io::Result<()> {
        if let What::Lost { count, .. } = change.what {
            self.0.lost.set(self.0.lost.get() + count);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn drain(ring: &mut Ring, pipeline: &mut Pipeline, told: &Told) {
    loop {
        let more = ring.drain(|records| {
            told.records
                .set(told.records.get() + records.records().count() as u64);
            pipeline.take_records(records)
        });
        pipeline.take(&Item::Settle).unwrap();
        if !more.unwrap() {
            return;
        }
    }
}

const FOLLOWED: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Unix];

fn reconcile(probes: &Probes, pipeline: &mut Pipeline) {
    let want = Want {
        protocols: FOLLOWED.to_vec(),
        ..Want::default()
    };
    pipeline
        .take(&Item::SnapshotBegins(monotonic_ns()))
        .unwrap();
    let listed = list(&want, Some(&probes.types), Ask::Nothing).unwrap();
    assert_eq!(listed.notes, Vec::<String>::new());
    let now = monotonic_ns();
    for adopted in listed.rows.iter().filter_map(|row| row.adopted(now)) {
        pipeline.take(&Item::Adopted(&adopted)).unwrap();
    }
    pipeline.take(&Item::SnapshotEnds { whole: true }).unwrap();
}

/// Cookie, or for Unix sockets inode → state, tuple and holders, as text.
type Sockets = BTreeMap<u64, String>;

fn text(state: &str, local: Endpoint, remote: Endpoint, holders: &BTreeSet<(u32, u32)>) -> String {
    format!("{state} {local:?} {remote:?} {holders:?}")
}

fn protocol(entry: &Entry<'_>) -> Protocol {
    Protocol::of(entry.info().family, entry.info().proto)
}

fn of_table(entry: &Entry<'_>) -> (u64, String) {
    let holders = entry.holders();
    let holders: BTreeSet<_> = holders
        .map(|(pid, fd)| (pid, u32::try_from(fd).unwrap()))
        .collect();
    let view = entry.view();
    match protocol(entry) {
        // What ss calls a port of theirs is their inode.
        Protocol::Unix => (u64::from(entry.info().inode), format!("{holders:?}")),
        Protocol::Tcp => {
            let state = format!("{:?}", entry.state());
            let told = text(&state, view.local, view.remote, &holders);
            (entry.info().id, told)
        }
        _ => (
            entry.info().id,
            text("udp", view.local, view.remote, &holders),
        ),
    }
}

/// What `ss` says of a namespace's sockets, TCP's minisocks apart.
fn of_ss(netns: &Netns) -> (Sockets, BTreeSet<u64>) {
    let (mut sockets, mut time_waits) = (Sockets::new(), BTreeSet::new());
    for line in netns.sh("ss -H -tuxanpeo").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let users = words.iter().find_map(|word| word.strip_prefix("users:"));
        let holders = users.map(crate::ss::users).unwrap_or_default();
        if words[0].starts_with("u_") {
            sockets.insert(words[5].parse().unwrap(), format!("{holders:?}"));
            continue;
        }
        let cookie = words.iter().find_map(|word| word.strip_prefix("sk:"));
        let cookie = u64::from_str_radix(cookie.unwrap(), 16).unwrap();
        let minisock = line.contains("timer:(timewait");
        let state = match (words[0], words[1]) {
            ("udp", _) => "udp",
            (_, "LISTEN") => "Listen",
            (_, "ESTAB") => "Established",
            (_, "CLOSE-WAIT") => "CloseWait",
            (_, "FIN-WAIT-2") if !minisock => "FinWait2",
            (_, "FIN-WAIT-2" | "TIME-WAIT") => {
                time_waits.insert(cookie);
                continue;
            }
            other => panic!("{other:?}: {line}"),
        };
        let endpoint = |text: &str| crate::ss::parse(text);
        let (local, remote) = (endpoint(words[4]), endpoint(words[5]));
        sockets.insert(cookie, text(state, local, remote, &holders));
    }
    (sockets, time_waits)
}

#[test]
fn after_most_events_were_lost_one_snapshot_sets_the_table_right() {
    let netns = Netns::new();
    let inum = inode(&format!("/run/netns/{}", netns.name()));
    let runtime = runtime();
    let _guard = runtime.enter();
    let wanted: Vec<_> = Kind::OF_SOCKETS
        .iter()
        .flat_map(|kind| records(*kind))
        .copied()
        .collect();
    let protocols = FOLLOWED.iter().fold(0, |bits, it| bits | it.bit());
    let plan = Plan {
        kinds: needed(&wanted, protocols),
        protocols,
        ring_bytes: 4096,
        ..Plan::default()
    };
    let mut probes = Probes::attach(&plan).unwrap();
    let mut ring = Ring::new(probes.take_ring().unwrap(), SOON).unwrap();
    let told = Rc::new(Told::default());
    let sink = Box::new(Adder(Rc::clone(&told)));
    let select = Select::default();
    let mut pipeline = Pipeline::new(select, Report::Trace, Some(sink), Clock::now());
    reconcile(&probes, &mut pipeline);

    let mut lives = Dialogue::start(python(&netns, LIVES));
    lives.say("live");
    let ghosts = lives.hear_while("ghosts", || {
        drain(&mut ring, &mut pipeline, &told);
        std::thread::sleep(Duration::from_millis(20));
    });
    let ghosts: BTreeSet<u64> = ghosts.split(' ').map(|it| it.parse().unwrap()).collect();
    // The last FINs are on their way still.
    std::thread::sleep(Duration::from_millis(100));
    drain(&mut ring, &mut pipeline, &told);
    pipeline
        .take(&Item::Counters(probes.counters().unwrap()))
        .unwrap();
    assert!(!pipeline.table().is_repaired());

    reconcile(&probes, &mut pipeline);
    let of_netns = |entry: &Entry<'_>| i64::from(entry.info().netns) == inum;
    let (expected, waits) = of_ss(&netns);
    let table = pipeline.table();
    let (over, open): (Vec<_>, Vec<_>) =
        table
            .iter()
            .filter(of_netns)
            .partition(|entry| match protocol(entry) {
                Protocol::Tcp => entry.state() == TcpState::Close,
                Protocol::Udp => entry.info().lport == 0,
                _ => false,
            });
    let found: Sockets = open.iter().map(of_table).collect();
    assert_eq!(found, expected);
    assert!(expected.len() > 50, "{expected:?}");
    // What ss cannot show: never connected, or over and still open.
    let found: BTreeSet<_> = over.iter().map(|entry| entry.info().id).collect();
    assert_eq!(found, ghosts);
    let found = table
        .time_waits()
        .filter(|it| i64::from(it.socket.netns) == inum);
    let found: BTreeSet<_> = found.map(|it| it.socket.id).collect();
    assert!(waits.is_subset(&found), "{waits:?} {found:?}");
    assert!(table.iter().all(|entry| entry.is_complete()));

    // And the loss is told to the last event.
    probes.detach();
    drain(&mut ring, &mut pipeline, &told);
    let counters = probes.counters().unwrap();
    pipeline.finish(Some(&counters)).unwrap();
    assert!(counters.balanced(), "{counters:?}");
    assert!(counters.lost_ring > 100_000, "{counters:?}");
    assert_eq!(told.records.get(), counters.emitted);
    assert_eq!(told.lost.get(), counters.lost());
}

#[test]
fn what_no_event_tells_of_other_protocols_is_learned() {
    let netns = Netns::new();
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--reconcile", "1s"]);
    tracer.args(["--proto", "udp,unix", "--netns", netns.name()]);
    let tracer = Background::start(tracer, "Ctrl-C");
    let mut script = Dialogue::start(python(
        &netns,
        r"
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a, b = socket.socketpair()
u.sendto(b'x', ('127.0.0.1', 9))
print('there', *[os.fstat(s.fileno()).st_ino for s in (u, a, b)], u.getsockname()[1], flush=True)
sys.stdin.readline(); os._exit(0)
",
    ));
    let said = script.hear("there");
    let said: Vec<i64> = said.split(' ').map(|it| it.parse().unwrap()).collect();
    let &[udp, a, b, port] = &said[..] else {
        panic!("{said:?}");
    };
    let taught = |told: &[Row], word: &str| {
        let learned = |row: &&Row| row.text("learned") == Some(word);
        told.iter().filter(learned).count()
    };
    tracer.wait("no port", |told| taught(told, "address") > 0);
    script.say("exit");
    tracer.wait("not gone", |told| taught(told, "gone") > 1);
    let (json, _) = tracer.stop();
    let told = rows(&json);
    let of = |inode: i64| {
        let its = |row: &&Row| row.number("inode") == Some(inode);
        let rows = told.iter().filter(its).collect();
        Life { rows }
    };

    // What sendto() bound; its end is an event.
    let udp = of(udp);
    udp.expect("socket snapshot close:exit end");
    let row = udp.row("snapshot").expect("learned", "address");
    row.expect("laddr", "0.0.0.0").expect("lport", port);
    row.expect("owner", "exact").expect_null("state_seconds");
    row.expect_null("old").expect_null("new");
    assert!(row.number("age_seconds").is_some());
    udp.row("end").expect("lport", port);

    // The end of these is not.
    for pair in [of(a), of(b)] {
        pair.expect("socket close:exit snapshot");
        pair.row("socket").expect_null("cookie");
        let row = pair.row("snapshot").expect("learned", "gone");
        row.expect("owner", "exact").expect("comm", "python3");
        row.expect_null("old").expect_null("new");
        // The snapshots asked for it.
        assert!(row.number("cookie").is_some());
    }
}
