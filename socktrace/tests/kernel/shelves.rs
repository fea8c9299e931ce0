//! Lives that end are left on shelves, beside the ring.

use std::{collections::BTreeMap, convert::Infallible, thread::sleep, time::Duration};

use socktrace::{
    decode::decode,
    event::Event,
    probe::{Plan, Probes},
    source::{chunk::Chunk, feed::Feed, ringbuf::Ring, snapshot::Protocol},
    unfold::{Life, is_life},
};
use socktrace_common::{event::UNNUMBERED, shelf::places};
use tokio::time::timeout;

use crate::support::{Netns, python, run, runtime};

/// Looks come so seldom that none does.
const NEVER: Duration = Duration::from_hours(1);

/// Nobody has woken us for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Kernel and user side, and the number of places that each CPU has; none where the kernel cannot do it.
fn attach() -> Option<(Probes, Ring, usize)> {
    let plan = Plan::watching(&[Protocol::Tcp], 1 << 23).folded();
    let mut probes = Probes::attach(&plan).unwrap();
    let shelves = probes.take_shelves().unwrap();
    if shelves.is_none() {
        assert_eq!(probes.types.cast, None, "every kernel with casts has them");
        return None;
    }
    let ring = probes.take_ring().unwrap();
    let ring = Ring::new(Feed::new(ring, shelves), NEVER).unwrap();
    let cpus = aya::util::online_cpus().unwrap();
    let places = places(cpus.into_iter().max().unwrap() + 1);
    Some((probes, ring, usize::try_from(places).unwrap()))
}

/// So many connections, both ends of which are made and closed on one CPU.
fn connect(netns: &Netns, connections: usize) {
    let script = format!(
        "
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
l = listener()
for turn in range({connections}):
    c, a = pair(l); c.close(); a.close()
"
    );
    run(&mut python(netns, &script));
}

/// How many of the next so many whole lives of this namespace, which its listeners do not have, were on
/// shelves, and how many in the ring.
fn told(ring: &mut Ring, netns: u32, lives: usize) -> [usize; 2] {
    let (mut told, mut times) = ([0, 0], Vec::new());
    // The last packets may be on their way.
    for _ in 0..250 {
        let mut take = |records: &Chunk| {
            for record in records.records().filter(|record| is_life(record)) {
                let life = Life::decode(record).unwrap();
                if life.info().netns == netns && life.is_whole() {
                    let header = life.header();
                    told[usize::from(header.seq != UNNUMBERED)] += 1;
                    times.push(header.mono_ns);
                }
            }
            Ok::<_, Infallible>(())
        };
        while ring.drain(&mut take).unwrap() {}
        if times.len() >= lives {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert_eq!(times.len(), lives);
    assert!(times.is_sorted(), "in the order in which they were told");
    told
}

#[test]
fn what_finds_no_place_on_a_shelf_goes_through_the_ring() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let netns = Netns::new();
    let number = netns.number();
    let Some((probes, mut ring, places)) = attach() else {
        return;
    };
    // Nobody comes meanwhile.
    connect(&netns, places);
    let [shelved, rung] = told(&mut ring, number, 2 * places);
    assert!(rung >= places, "{rung} of {places}");
    assert!(shelved > places / 2, "{shelved} of {places}");
    // The places are free again.
    connect(&netns, 10);
    assert_eq!(told(&mut ring, number, 20), [20, 0]);
    let counters = probes.counters().unwrap();
    assert!(counters.balanced() && counters.lost() == 0, "{counters:?}");
    let all = u64::try_from(2 * places + 20).unwrap();
    assert!(counters.emitted >= all, "{counters:?}");
}

#[test]
fn a_shelf_that_fills_up_wakes_whoever_takes_from_it() {
    let runtime = runtime();
    let netns = Netns::new();
    let number = netns.number();
    runtime.block_on(async {
        let Some((_probes, mut ring, places)) = attach() else {
            return;
        };
        // The timer's first look is at once, and so is one for what others do.
        while timeout(QUIET, ring.ready()).await.is_ok() {
            told(&mut ring, number, 0);
        }
        connect(&netns, places / 4 + 1);
        let woken = timeout(Duration::from_secs(30), ring.ready()).await;
        woken.expect("half of the places are taken").unwrap();
        let ends = 2 * (places / 4 + 1);
        assert_eq!(told(&mut ring, number, ends), [ends, 0]);
    });
}

/// Whose steps just fit is told without its end.
#[test]
fn nothing_is_told_of_a_socket_after_its_end() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let netns = Netns::new();
    let number = netns.number();
    let Some((_probes, mut ring, _)) = attach() else {
        return;
    };
    let script = "
for connects in range(8):
    s = socket.socket()
    for turn in range(connects): s.connect_ex(('127.0.0.1', 1))
    s.close()
";
    run(&mut python(&netns, script));
    // How many lives of each socket came, and its end.
    let mut told = BTreeMap::<u64, (usize, bool)>::new();
    let mut take = |records: &Chunk| {
        for record in records.records() {
            let (id, netns, ends, is_life) = if is_life(record) {
                let life = Life::decode(record).unwrap();
                (life.id(), life.info().netns, life.is_whole(), true)
            } else if let Ok(Event::Destroy(end)) = decode(record) {
                (end.socket.id, end.socket.netns, true, false)
            } else {
                continue;
            };
            if netns == number {
                let (lives, over) = told.entry(id).or_default();
                assert!(!*over, "{id} is over");
                (*lives, *over) = (*lives + usize::from(is_life), ends);
            }
        }
        Ok::<_, Infallible>(())
    };
    while ring.drain(&mut take).unwrap() {}
    assert_eq!(told.len(), 8);
    assert!(told.values().all(|told| *told == (1, true)), "{told:?}");
}
