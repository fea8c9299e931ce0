//! What goes wrong around it: somebody who floods it, a map that is full, a disk that is.

use std::{rc::Rc, time::Duration};

use socktrace::{
    clock::Clock,
    pipeline::Pipeline,
    probe::{Plan, Probes},
    select::Select,
    sink::Report,
    source::{
        Item,
        ringbuf::{Ring, SOON},
        snapshot::Protocol,
    },
};

use crate::{
    daemon::{Daemon, wait},
    reconcile::{Told, drain},
    support::{Dialogue, Netns, python, runtime, socktrace},
};

/// As another user: connections as fast as they come, thousands of them.
const FLOOD: &str = r"
open('/proc/self/comm', 'w').write('flood')
os.setuid(65534)
l = listener(backlog=64)
print('ready', flush=True)
sys.stdin.readline()
for _ in range(4000):
    c, a = pair(l)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.close(); a.close()
print('done', flush=True)
sys.stdin.readline(); os._exit(0)
";

/// What it leaks, it leaks while the others flood.
const LEAK: &str = r"
open('/proc/self/comm', 'w').write('leaking')
os.setuid(65533)
l = listener()
print('ready', flush=True)
sys.stdin.readline()
held = []
for _ in range(12):
    c, a = pair(l); c.close(); held.append(a)
print('done', flush=True)
sys.stdin.readline(); os._exit(0)
";

#[test]
fn a_flood_does_not_hide_the_leak_of_another_user() {
    let netns = Netns::new();
    let settings =
        "[daemon]\nring_size = 4\n[detect]\nevery = \"1s\"\n[detect.close_wait]\nshown = \"1s\"\n";
    let daemon = Daemon::start_under(&[], settings);
    let mut flood = Dialogue::start(python(&netns, FLOOD));
    let mut leak = Dialogue::start(python(&netns, LEAK));
    flood.hear("ready");
    leak.hear("ready");
    let lost = || daemon.metric("socktrace_events_lost_total", &["where=\"ring\""]);
    let before = lost();
    // Nobody takes anything out meanwhile, so that the machine's speed is no matter.
    daemon.pause();
    flood.say("flood");
    leak.say("leak");
    flood.hear("done");
    leak.hear("done");
    daemon.resume();
    wait("the loss is counted", || lost() > before + 100.0);
    wait("the leak is found", || {
        let leaking = ["kind=\"close_wait\"", "owner=\"leaking\""];
        daemon.metric("socktrace_findings", &leaking) >= 1.0
    });
    let held = daemon.metric(
        "socktrace_sockets",
        &["state=\"close_wait\"", "owner=\"leaking\""],
    );
    assert!((held - 12.0).abs() < 0.5, "{held}");
    // And of the flood nothing stays but its listener.
    let flooded = daemon.metric("socktrace_sockets", &["proto=\"tcp\"", "owner=\"flood\""]);
    assert!(flooded <= 1.5, "{flooded}");
}

#[test]
fn where_the_map_of_young_lives_is_full_the_rest_is_told_step_by_step() {
    const MANY: usize = 40;
    let netns = Netns::new();
    let runtime = runtime();
    let _guard = runtime.enter();
    let plan = Plan {
        lives: 8,
        ..Plan::everything(&[Protocol::Tcp], 1 << 22)
    };
    let mut probes = Probes::attach(&plan).unwrap();
    let mut ring = Ring::new(probes.take_ring().unwrap(), SOON).unwrap();
    let told = Rc::new(Told::default());
    let mut pipeline = Pipeline::new(Select::default(), Report::Trace, None, Clock::now());
    let mut script = Dialogue::start(python(
        &netns,
        r"
for line in sys.stdin:
    l = listener(backlog=64)
    held = [s for _ in range(20) for s in pair(l)]
    print('held', *[cookie(s) for s in held], flush=True)
os._exit(0)
",
    ));
    script.say("hold");
    let held = script.hear("held");
    let held: Vec<u64> = held.split(' ').map(|it| it.parse().unwrap()).collect();
    assert_eq!(held.len(), MANY);
    std::thread::sleep(Duration::from_millis(50));
    drain(&mut ring, &mut pipeline, &told);
    let counters = probes.counters().unwrap();
    pipeline.take(&Item::Counters(counters)).unwrap();
    // All but those that are kept are known already, and none is lost.
    let known = held.iter().filter(|id| pipeline.table().contains(**id));
    // Those have eight places, and one that is near.
    assert!(known.count() >= MANY - 9, "{counters:?}");
    assert_eq!(
        (counters.lost(), counters.balanced()),
        (0, true),
        "{counters:?}"
    );
    assert!(pipeline.table().is_repaired());
}

#[test]
fn a_recording_that_finds_no_room_ends_with_the_reason() {
    let netns = Netns::new();
    let mut record = netns.command(socktrace().to_str().unwrap());
    record.args(["record", "/dev/full", "--", "python3", "-c"]);
    record.arg("import socket\nfor _ in range(2000): socket.socket().close()");
    let output = record.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("No space left on device"), "{told}");
}
