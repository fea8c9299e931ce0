//! Maps of the kernel side that are full, of which each call says what it can: more processes, made-up
//! identities and closes of `io_uring` than there is room for. The places are taken by what is nobody's.

use std::fmt::Debug;

use aya::{
    Pod,
    maps::{HashMap, MapData, RingBuf},
};
use socktrace::{
    decode::decode,
    event::Event,
    probe::{AttachMode, Plan, Probes, counters::Counters},
    source::snapshot::Protocol,
};
use socktrace_common::socket::SYNTHETIC_ID;

use crate::{
    support::{Netns, Row, python, rows, run},
    uring::possible,
    uring_program,
};

/// Kernel and user side, with TCP followed step by step.
fn attach(mode: AttachMode) -> (Probes, RingBuf<MapData>) {
    let plan = Plan {
        mode,
        ..Plan::everything(&[Protocol::Tcp], 1 << 22)
    };
    let mut probes = Probes::attach(&plan).unwrap();
    let ring = probes.take_ring().unwrap();
    (probes, ring)
}

/// Takes every place in the map that is left, until this is called: then they are free.
fn fill<K: Pod + Debug, V: Pod, T: Iterator<Item = K>>(
    probes: &mut Probes,
    map: &str,
    keys: T,
    value: V,
) -> impl FnOnce(&mut Probes) + use<K, V, T> {
    let mut places = HashMap::<_, K, V>::try_from(probes.object().map_mut(map).unwrap()).unwrap();
    let taken: Vec<K> = keys
        .take_while(|key| places.insert(key, value, 0).is_ok())
        .collect();
    assert!(taken.len() > 1000, "{map}: {}", taken.len());
    let map = map.to_owned();
    move |probes| {
        let all = probes.object().map_mut(&map).unwrap();
        let mut places = HashMap::<_, K, V>::try_from(all).unwrap();
        for key in &taken {
            places.remove(key).unwrap();
        }
    }
}

fn told(ring: &mut RingBuf<MapData>) -> Vec<Event> {
    let mut told = Vec::new();
    while let Some(record) = ring.next() {
        told.push(decode(&record).unwrap());
    }
    told
}

/// What a script of one line says.
fn said(netns: &Netns, script: &str) -> Row {
    let mut said = rows(&run(&mut python(netns, script)));
    said.remove(0)
}

/// Books that balance, with nothing lost for want of room in the ring.
fn books(probes: &Probes) -> Counters {
    let counters = probes.counters().unwrap();
    assert!(
        counters.balanced() && counters.lost_ring == 0,
        "{counters:?}"
    );
    counters
}

#[test]
fn processes_that_there_is_no_room_to_know_are_told_with_each_of_their_calls() {
    const SCRIPT: &str = "
for turn in range(5): socket.socket().close()
say(pid=os.getpid())";
    let netns = Netns::new();
    let (mut probes, mut ring) = attach(AttachMode::Auto);
    let introduced = |ring: &mut RingBuf<MapData>| {
        let pid = u32::try_from(said(&netns, SCRIPT).number("pid").unwrap()).unwrap();
        let told = told(ring);
        let its = told.iter().filter(|event| event.header().tgid == pid);
        let (of_it, rest): (Vec<_>, Vec<_>) =
            its.partition(|event| matches!(event, Event::Process(_)));
        for event in &of_it {
            let Event::Process(event) = event else {
                continue;
            };
            assert!(event.comm.starts_with(b"python3"), "{event:?}");
        }
        let made = rest.iter().filter(|it| matches!(it, Event::Socket(_)));
        assert_eq!(made.count(), 5);
        of_it.len()
    };
    // No process has such a number.
    let free = fill(&mut probes, "PROCESSES", 1_u32 << 31.., 1_u8);
    assert!(introduced(&mut ring) >= 5);
    free(&mut probes);
    assert_eq!(introduced(&mut ring), 1);
    assert_eq!(books(&probes).lost_map, 0);
}

#[test]
fn sockets_that_no_identity_can_be_made_up_for_are_told_without_one() {
    const SCRIPT: &str = "
l = listener(); c, a = pair(l); say(port=l.getsockname()[1])";
    let netns = Netns::new();
    // Classic programs may not ask for cookies, and a child of a listener has none of its own.
    let (mut probes, mut ring) = attach(AttachMode::Classic);
    let children = |ring: &mut RingBuf<MapData>| {
        let port = said(&netns, SCRIPT).number("port").unwrap();
        let told = told(ring);
        let its = told.iter().filter_map(|event| match event {
            Event::State(event) if i64::from(event.socket.lport) == port => Some(event),
            _ => None,
        });
        // All but the listener's, which was created with a cookie.
        let of_child = its.filter(|event| event.socket.rport != 0);
        of_child.map(|event| event.socket.id).collect::<Vec<_>>()
    };
    // No socket lies there.
    let free = fill(&mut probes, "IDENTITIES", 1_u64.., 0_u64);
    let ids = children(&mut ring);
    assert!(ids.len() >= 3 && ids.iter().all(|id| *id == 0), "{ids:?}");
    free(&mut probes);
    let ids = children(&mut ring);
    assert!(ids.len() >= 3 && ids[0] >= SYNTHETIC_ID, "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    books(&probes);
}

#[test]
fn closes_by_io_uring_that_there_is_no_room_to_remember_are_counted() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let (mut probes, mut ring) = attach(AttachMode::Auto);
    let closed = |ring: &mut RingBuf<MapData>| {
        run(uring_program::add_to(
            &mut netns.command("env"),
            "life by ring",
        ));
        let told = told(ring);
        let ours = |event: &&Event| matches!(event, Event::Close(event) if event.fd >= 0);
        told.iter().filter(ours).count()
    };
    let with_room = closed(&mut ring);
    assert!(with_room >= 3, "{with_room}");
    assert_eq!(books(&probes).lost_map, 0);
    // No request lies there.
    let free = fill(&mut probes, "CLOSING", 1_u64.., [0_u64; 9]);
    let without = closed(&mut ring);
    let lost = usize::try_from(books(&probes).lost_map).unwrap();
    assert!(lost >= 3, "{lost}");
    assert_eq!(without + lost, with_room);
    free(&mut probes);
    assert_eq!(closed(&mut ring), with_room);
}
