//! The table against a model of what it follows: whatever happens, in whatever order, it says what
//! is true; and where events are missing, come twice or late, a snapshot puts it right.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use socktrace::{
    change::{By, Change, What},
    event::Event,
    table::SocketTable,
    unfold::Life,
};
use socktrace_common::{
    event::{EventKind, LifeEvent, STEPS, Step},
    socket::TcpState,
};
use zerocopy::FromZeros as _;

use world::{Deed, Owner, World, deeds};

/// What is said of a socket: its state if it is TCP, its owner, its holders.
type Said = (Option<TcpState>, Option<Owner>, BTreeSet<(u32, i32)>);

fn said(table: &SocketTable) -> BTreeMap<u64, Said> {
    let mut all = BTreeMap::new();
    for entry in table.iter() {
        let owner = entry.owner();
        let tcp = entry.info().proto == 6;
        let said = (
            tcp.then(|| entry.state()),
            owner.map(|it| (it.pid, it.start_ns.unwrap_or_default())),
            entry.holders().collect(),
        );
        assert!(all.insert(entry.info().id, said).is_none(), "one of each");
    }
    assert_eq!(all.len(), table.len());
    all
}

fn truth(world: &World) -> BTreeMap<u64, Said> {
    let all = world.sockets.iter().map(|(&id, it)| {
        let said = (it.tcp.then_some(it.state), it.owner, it.holders.clone());
        (id, said)
    });
    all.collect()
}

fn apply(table: &mut SocketTable, events: &[Event]) {
    for event in events {
        table.apply(event, &mut Vec::new());
    }
}

fn snapshot(table: &mut SocketTable, world: &mut World) {
    let now = world.later();
    table.snapshot_begins(now);
    for adopted in world.shown() {
        table.adopt(&adopted, &mut Vec::new());
    }
    table.snapshot_ends(true, &mut Vec::new());
}

/// What becomes of an event on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Comes,
    Lost,
    Twice,
    Later(usize),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        12 => Just(Fate::Comes),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1_usize..8).prop_map(Fate::Later),
    ];
    prop::collection::vec(fate, 1..200)
}

/// What arrives, and whether anything is amiss.
fn disturbed(told: &[Event], fates: &[Fate]) -> Vec<(Event, bool)> {
    let mut arrives = Vec::new();
    for (place, (event, fate)) in told.iter().zip(fates.iter().cycle()).enumerate() {
        let (at, times) = match *fate {
            Fate::Comes => (place, 1),
            Fate::Lost => (place, 0),
            Fate::Twice => (place, 2),
            Fate::Later(by) => (place + by, 1),
        };
        for _ in 0..times {
            arrives.push((at, *event, !matches!(fate, Fate::Comes)));
        }
    }
    arrives.sort_by_key(|it| it.0);
    arrives
        .into_iter()
        .map(|(_, event, amiss)| (event, amiss))
        .collect()
}

/// What the kernel side would make of it: the first steps of each TCP socket are told with the last
/// of them.
fn folded(told: &[Event]) -> Vec<Result<Event, LifeEvent>> {
    let mut lives: BTreeMap<u64, (LifeEvent, usize)> = BTreeMap::new();
    for (place, event) in told.iter().enumerate() {
        let Some((id, mut step)) = step(event) else {
            continue;
        };
        let now = event.header().mono_ns;
        let (life, last) = lives.entry(id).or_insert((LifeEvent::new_zeroed(), 0));
        let count = usize::try_from(life.count).unwrap();
        if count < STEPS {
            if count == 0 {
                life.began_ns = now;
            }
            step.after_ns = u32::try_from(now - life.began_ns).unwrap();
            life.steps[count] = step;
            life.count += 1;
            *last = place;
            life.header = *event.header();
            life.header.kind = EventKind::Life as u16;
            if let Event::Accept(accept) = event {
                life.listener = accept.listener;
            }
            if let Some(socket) = socket(event) {
                life.socket = *socket;
            }
        }
    }
    let mut all = Vec::new();
    for (place, event) in told.iter().enumerate() {
        match step(event).map(|(id, _)| &lives[&id]) {
            Some((_, last)) if place < *last => {}
            Some((life, last)) if place == *last => all.push(Err(*life)),
            _ => all.push(Ok(*event)),
        }
    }
    all
}

/// Where connections only are asked for, it is not told of sockets over TCP.
fn before_connections(event: &Event) -> bool {
    let calls = matches!(event, Event::Socket(_) | Event::Connect(_));
    calls && step(event).is_some()
}

/// How many, but for the descriptors that an exit closes: who holds a young socket is not known yet.
fn rows(changes: &[Change]) -> usize {
    let by_exit = |it: &&Change| matches!(it.what, What::Close { by: By::Exit, .. });
    changes.len() - changes.iter().filter(by_exit).count()
}

fn socket(event: &Event) -> Option<&socktrace_common::socket::SocketInfo> {
    match event {
        Event::Socket(it) => Some(&it.socket),
        Event::Connect(it) => Some(&it.socket),
        Event::Accept(it) => Some(&it.socket),
        Event::State(it) => Some(&it.socket),
        Event::Close(it) => Some(&it.socket),
        Event::Destroy(it) => Some(&it.socket),
        _ => None,
    }
}

fn step(event: &Event) -> Option<(u64, Step)> {
    let socket = socket(event).filter(|it| it.proto == 6)?;
    let header = event.header();
    let mut step = Step {
        tgid: header.tgid,
        fd: -1,
        kind: u8::try_from(header.kind).unwrap(),
        ..Step::new_zeroed()
    };
    match event {
        Event::Socket(it) => (step.fd, step.value) = (it.fd, 1),
        Event::Connect(it) => (step.fd, step.value) = (it.fd, i16::try_from(it.ret).unwrap()),
        Event::Accept(it) => step.fd = it.fd,
        Event::State(it) => {
            step.fd = it.connect_fd;
            step.value = i16::try_from(it.error).unwrap();
            step.states = it.old | it.new << 4;
        }
        Event::Close(it) => {
            (step.fd, step.states) = (it.fd, u8::try_from(it.by).unwrap());
            step.value = i16::try_from(it.references_left).unwrap();
        }
        Event::Destroy(it) => step.value = i16::try_from(it.error).unwrap(),
        _ => return None,
    }
    Some((socket.id, step))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn undisturbed_the_table_says_what_is_true(deeds in deeds()) {
        let mut world = World::after(&deeds);
        let mut table = SocketTable::default();
        apply(&mut table, &world.told);
        prop_assert_eq!(said(&table), truth(&world));
        prop_assert!(table.iter().all(|it| it.is_complete() && it.age_is_exact()));
        // And a snapshot has nothing to teach.
        snapshot(&mut table, &mut world);
        snapshot(&mut table, &mut world);
        prop_assert_eq!(said(&table), truth(&world));
        for (learned, count) in table.corrections().iter() {
            prop_assert_eq!(count, 0, "{:?}", learned);
        }
    }

    #[test]
    fn whatever_comes_late_twice_or_not_at_all_a_snapshot_puts_it_right(
        deeds in deeds(),
        fates in fates(),
        most in 1_usize..60,
    ) {
        let mut world = World::after(&deeds);
        let mut table = SocketTable::new(most);
        for (event, amiss) in disturbed(&world.told, &fates) {
            table.apply(&event, &mut Vec::new());
            if amiss {
                table.lost(event.header().mono_ns);
            }
            prop_assert!(table.len() <= most);
            prop_assert!(table.len() as u64 <= world.ever);
        }
        // At the end, a loss of which only the counters tell.
        table.lost(world.later());
        prop_assert!(!table.is_repaired());
        prop_assert!(table.iter().all(|it| !it.is_complete()));
        snapshot(&mut table, &mut world);
        let (said, truth) = (said(&table), truth(&world));
        for (id, (state, _, holders)) in &said {
            prop_assert!(truth.contains_key(id), "{} has ended", id);
            let (true_state, _, true_holders) = &truth[id];
            prop_assert_eq!((state, holders), (true_state, true_holders), "{}", id);
        }
        prop_assert!(table.is_repaired());
        // Those that had no room because of others that were gone have it now.
        snapshot(&mut table, &mut world);
        prop_assert_eq!(table.len(), truth.len().min(most));
    }

    #[test]
    fn lives_that_are_told_at_once_end_as_those_told_step_by_step(mut deeds in deeds()) {
        // Heirs of a young socket are known at the next snapshot.
        deeds.retain(|it| !matches!(it, Deed::Fork { .. } | Deed::Exec { .. }));
        let world = World::after(&deeds);
        let (mut table, mut kinds) = (SocketTable::default(), [0; 2]);
        table.keeps_exited = true;
        for told in folded(&world.told) {
            let mut changes = Vec::new();
            match told {
                Ok(event) => table.apply(&event, &mut changes),
                Err(life) => {
                    for event in Life::new(&life).unwrap().events(0) {
                        table.apply_late(&event, &mut changes);
                    }
                }
            }
            kinds[0] += rows(&changes);
        }
        prop_assert_eq!(said(&table), truth(&world));
        let mut stepwise = SocketTable::default();
        for event in &world.told {
            let mut changes = Vec::new();
            stepwise.apply(event, &mut changes);
            kinds[1] += rows(&changes);
        }
        prop_assert_eq!(kinds[0], kinds[1], "as many rows");
    }

    #[test]
    fn a_life_is_the_same_with_and_without_a_place_in_the_table(
        deeds in deeds(),
        fates in fates(),
        most in 1_usize..60,
        every in 5_usize..50,
        connections in any::<bool>(),
    ) {
        let mut world = World::after(&deeds);
        if connections {
            world.told.retain(|event| !before_connections(event));
        }
        let mut tables = [SocketTable::new(most), SocketTable::new(most)];
        for table in &mut tables {
            table.keeps_exited = true;
        }
        let shown = world.shown();
        for (place, told) in cycled(&folded(&world.told), &fates).into_iter().enumerate() {
            let mut rows = [Vec::new(), Vec::new()];
            let now = world.later();
            for (whole, (table, rows)) in [true, false].into_iter().zip(tables.iter_mut().zip(&mut rows)) {
                match &told {
                    Ok(event) => table.apply(event, rows),
                    Err(life) if whole && table.apply_whole(Life::new(life).unwrap(), rows) => {}
                    Err(life) => {
                        for event in Life::new(life).unwrap().events(0) {
                            table.apply_late(&event, rows);
                        }
                    }
                }
                match place % every {
                    0 => table.snapshot_begins(now),
                    1 => for adopted in &shown {
                        table.adopt(adopted, rows);
                    },
                    3 => table.snapshot_ends(true, rows),
                    _ => {}
                }
            }
            let [fast, slow] = rows.map(|rows| {
                let mut rows: Vec<_> = rows.iter().map(|row| format!("{row:?}")).collect();
                if place % every == 3 {
                    // Those that a snapshot finds gone are told in the order of their places.
                    rows.sort();
                }
                rows
            });
            prop_assert_eq!(fast, slow);
        }
        let [fast, slow] = &tables;
        prop_assert_eq!(said(fast), said(slow));
        prop_assert_eq!(fast.untracked(), slow.untracked());
        prop_assert_eq!(kept(fast), kept(slow));
    }
}

/// Each as often and as late as its fate wants it.
fn cycled<T: Clone>(told: &[T], fates: &[Fate]) -> Vec<T> {
    let mut arrives = Vec::new();
    for (place, (it, fate)) in told.iter().zip(fates.iter().cycle()).enumerate() {
        let (at, times) = match *fate {
            Fate::Comes => (place, 1),
            Fate::Lost => (place, 0),
            Fate::Twice => (place, 2),
            Fate::Later(by) => (place + by, 1),
        };
        arrives.extend((0..times).map(|_| (at, it.clone())));
    }
    arrives.sort_by_key(|it| it.0);
    arrives.into_iter().map(|it| it.1).collect()
}

/// What stays besides sockets: ports that are kept, and who accepted how often.
fn kept(table: &SocketTable) -> (BTreeMap<u64, String>, Vec<String>) {
    let waits = table.time_waits();
    let waits = waits.map(|it| (it.socket.id, format!("{it:?}")));
    let accepts = (0..200).map(|id| format!("{:?}", table.accepts(id)));
    (waits.collect(), accepts.collect())
}
