//! Lives that the kernel side keeps and tells at once, and what is left with few hooks.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use aya::programs::loaded_programs;
use socktrace::{
    decode::decode,
    event::Event,
    probe::{Plan, Probes},
    source::snapshot::Protocol,
    unfold::{Life, is_life},
};

use crate::{
    readers::in_the_kernel,
    support::{Background, Netns, Row, python, rows, run, socktrace},
};

/// A server and a client in two processes; the client also fails before it has sent a packet, and
/// after.
const SERVER_AND_CLIENT: &str = "
import os, socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(64)
child = os.fork()
if child == 0:
    l.detach()
    for turn in range(40):
        c = socket.socket(); c.connect(('127.0.0.1', PORT)); c.send(b'x' * 1000); c.recv(9); c.close()
    r = socket.socket(); r.connect_ex(('127.0.0.1', 1)); r.close()
    u = socket.socket(); u.connect_ex(('192.0.2.1', 1)); u.close()
    n = socket.socket(); n.close()
    os._exit(0)
for turn in range(40):
    a, _ = l.accept(); a.recv(4096); a.send(b'y'); a.recv(9); a.close()
os.wait(); print(os.getpid(), child)
";

/// Rows of `life`, with the pids of server and client.
fn lives(hooks: &str) -> (Vec<Row>, String, [i64; 2]) {
    let netns = Netns::new();
    let mut tracer = Command::new(socktrace());
    tracer.args(["life", "-o", "json", "--hooks", hooks]);
    tracer.args(["--netns", netns.name()]);
    let tracer = Background::start(tracer, "Ctrl-C");
    let script = SERVER_AND_CLIENT.replace("PORT", "l_port");
    let script = script.replace(
        "child = os.fork()",
        "l_port = l.getsockname()[1]; child = os.fork()",
    );
    let said = run(netns.command("python3").args(["-c", &script]));
    let mut pids = said.split_whitespace().map(|pid| pid.parse().unwrap());
    let pids = [pids.next().unwrap(), pids.next().unwrap()];
    let (told, summary) = tracer.stop();
    (rows(&told), summary, pids)
}

fn of<'a>(rows: &'a [Row], role: &str, reason: &str) -> Vec<&'a Row> {
    let fits = |row: &&Row| row.text("role") == Some(role) && row.text("reason") == Some(reason);
    rows.iter().filter(fits).collect()
}

#[test]
fn lives_that_are_told_at_once_have_their_owners_bytes_and_reasons() {
    let (told, summary, [server, client]) = lives("full");
    let clients = of(&told, "client", "closed");
    let servers = of(&told, "server", "closed");
    assert_eq!((clients.len(), servers.len()), (40, 40), "{summary}");
    for row in &clients {
        row.expect("pid", client).expect("tx_bytes", 1000);
        row.expect("owner", "exact").expect("rx_bytes", 1);
        assert!(row.number("rport").unwrap() > 0 && row.number("lport").unwrap() > 0);
    }
    for row in &servers {
        row.expect("pid", server).expect("rx_bytes", 1000);
    }
    assert_eq!(of(&told, "client", "refused").len(), 1);
    // The books balance, and most steps made no record.
    assert!(summary.contains("lost: 0"), "{summary}");
    assert!(folded(&summary) > 500, "{summary}");
}

#[test]
fn without_hooks_of_calls_clients_have_their_owners_still() {
    let (told, summary, [_, client]) = lives("lean");
    let clients = of(&told, "client", "closed");
    let servers = of(&told, "server", "closed");
    assert_eq!((clients.len(), servers.len()), (40, 40), "{summary}");
    for row in &clients {
        row.expect("pid", client).expect("tx_bytes", 1000);
    }
    for row in &servers {
        row.expect_null("pid").expect("rx_bytes", 1000);
    }
    assert!(folded(&summary) > 300, "{summary}");
}

#[test]
fn connections_pay_for_no_hook_of_what_comes_before_them() {
    let hooks = |proto: &str| {
        let netns = Netns::new();
        let mut tracer = Command::new(socktrace());
        tracer.args(["life", "--proto", proto, "--netns", netns.name()]);
        let tracer = Background::start(tracer, "Ctrl-C");
        let [its, _] = in_the_kernel(tracer.pid());
        let programs = loaded_programs().filter_map(Result::ok);
        let names = programs
            .filter(|it| its.contains(&it.id()))
            .filter_map(|it| it.name_as_str().map(str::to_owned));
        names.collect::<BTreeSet<_>>()
    };
    let before = ["sys_exit_socket", "sys_exit_connec", "sock_create"];
    let (tcp, all) = (hooks("tcp"), hooks("all"));
    for hook in ["inet_sock_set_s", "sys_exit_accept"].map(str::to_owned) {
        assert!(tcp.contains(&hook) && all.contains(&hook), "{tcp:?}");
    }
    for hook in before.map(str::to_owned) {
        assert!(
            !tcp.contains(&hook) && all.contains(&hook),
            "{hook}: {tcp:?}, {all:?}"
        );
    }
}

/// Steps that were kept, from the books in the summary.
fn folded(summary: &str) -> u64 {
    let (_, after) = summary.split_once("folded ").unwrap();
    after.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn what_lives_for_long_is_told_while_it_lives() {
    let netns = Netns::new();
    let mut tracer = Command::new(socktrace());
    tracer.args(["life", "-o", "json", "--netns", netns.name()]);
    let tracer = Background::start(tracer, "Ctrl-C");
    // More steps than there is room for, and a second between two of them.
    let script = "
l = listener(); c, a = pair(l)
time.sleep(1.3)
c.send(b'hello'); a.recv(9); c.close(); a.recv(1); a.close()
r = socket.socket()
for turn in range(8): r.connect_ex(('127.0.0.1', 1))
r.close()
";
    run(&mut python(&netns, script));
    let (told, summary) = tracer.stop();
    let told = rows(&told);
    for (role, sent) in [("client", 5), ("server", 0)] {
        let ends = of(&told, role, "closed");
        assert_eq!(ends.len(), 1, "{role}: {summary}");
        ends[0].expect("tx_bytes", sent).expect("owner", "exact");
        assert!(ends[0].number("lifetime_us").unwrap() > 1_200_000);
    }
    assert!(summary.contains("lost: 0"), "{summary}");
}

/// Times of changes that packets make are those that TCP has of the packets.
#[test]
fn steps_of_a_life_have_the_times_that_they_have_when_each_is_told() {
    let netns = Netns::new();
    let number = netns.number();
    let stepwise = Plan::everything(&[Protocol::Tcp], 1 << 22);
    let folded = Plan {
        lives: 1024,
        ..Plan::watching(&[Protocol::Tcp], 1 << 22)
    };
    let mut probes = [stepwise, folded].map(|plan| Probes::attach(&plan).unwrap());
    let mut rings = probes.each_mut().map(|probes| probes.take_ring().unwrap());
    // Who closes first, and after which pauses: each is longer than the difference that may be.
    let script = "
l = listener()
def later(*calls):
    for call in calls:
        time.sleep(0.15); call()
c, a = pair(l); later(c.close, a.close)
c, a = pair(l); later(a.close, c.close)
c, a = pair(l); later(lambda: c.shutdown(1), c.close, a.close)
c, a = pair(l); later(lambda: c.shutdown(1), a.close, c.close)
c = socket.socket(); c.setblocking(False)
try: c.connect(l.getsockname())
except BlockingIOError: pass
later(lambda: c.send(b'x'), l.accept()[0].close, c.close)
r = socket.socket(); r.connect_ex(('127.0.0.1', 1)); later(r.close)
";
    run(&mut python(&netns, script));
    for probes in &mut probes {
        probes.detach();
    }
    let mut times = [BTreeMap::new(), BTreeMap::new()];
    let mut lives = 0;
    for (ring, times) in rings.iter_mut().zip(&mut times) {
        let mut take = |event: &Event| {
            if let Event::State(event) = event
                && event.socket.netns == number
            {
                let change = (event.socket.id, event.old, event.new);
                times.insert(change, event.header.mono_ns);
            }
        };
        while let Some(record) = ring.next() {
            if is_life(&record) {
                let life = Life::decode(&record).unwrap();
                lives += usize::from(life.info().netns == number);
                life.events(0).for_each(|event| take(&event));
            } else {
                take(&decode(&record).unwrap());
            }
        }
    }
    let [told, kept] = times;
    assert!(lives >= 8, "{lives}");
    assert!(told.len() > 40, "{told:?}");
    assert_eq!(
        told.keys().collect::<Vec<_>>(),
        kept.keys().collect::<Vec<_>>()
    );
    for (change, at) in &told {
        let apart = at.abs_diff(kept[change]);
        assert!(apart < 75_000_000, "{change:?}: {apart} ns");
    }
}
