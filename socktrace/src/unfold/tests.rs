//! Lives taken apart, and what is refused of them.

use socktrace_common::{
    event::ClosedBy,
    socket::{FAMILY_IPV4, FAMILY_UNIX, PROTO_TCP},
};
use zerocopy::IntoBytes as _;

use super::*;
use crate::{change::Kind, table::SocketTable};

fn step(after_ns: u32, kind: EventKind, value: i16, states: [TcpState; 2]) -> Step {
    Step {
        after_ns,
        tgid: 7,
        fd: 3,
        value,
        kind: kind as u8,
        states: states[0] as u8 | (states[1] as u8) << 4,
    }
}

fn close(after_ns: u32) -> Step {
    Step {
        states: ClosedBy::Close as u8,
        ..step(after_ns, EventKind::Close, 0, [TcpState::Close; 2])
    }
}

fn life_of(steps: &[Step]) -> LifeEvent {
    let mut life = LifeEvent::new_zeroed();
    life.header.kind = EventKind::Life as u16;
    life.socket = SocketInfo {
        id: 9,
        laddr: [127; 16],
        lport: 40_000,
        rport: 80,
        proto: PROTO_TCP,
        family: FAMILY_IPV4,
        ..SocketInfo::new_zeroed()
    };
    life.began_ns = 1_000;
    (life.bytes_acked, life.bytes_received) = (12, 1);
    life.steps[..steps.len()].copy_from_slice(steps);
    life.count = steps.len() as u64;
    life
}

/// A client whose connection is refused nothing and closed in order.
fn client() -> LifeEvent {
    use TcpState::{Close, Established, FinWait1, FinWait2, SynSent};
    life_of(&[
        step(10, EventKind::Socket, 1, [Close, Close]),
        step(20, EventKind::State, 0, [Close, SynSent]),
        step(30, EventKind::State, 0, [SynSent, Established]),
        step(40, EventKind::Connect, 0, [Close, Close]),
        close(50),
        step(51, EventKind::State, 0, [Established, FinWait1]),
        step(60, EventKind::State, 0, [FinWait1, FinWait2]),
        step(70, EventKind::State, 0, [FinWait2, Close]),
        step(71, EventKind::Destroy, 0, [Close, Close]),
    ])
}

fn kinds(life: &Life<'_>, from: usize) -> Vec<EventKind> {
    let events = life.events(from).map(|event| event.kind());
    events.collect()
}

#[test]
fn a_life_is_the_events_that_it_is_made_of() {
    let told = client();
    let life = Life::decode(told.as_bytes()).unwrap();
    let mut table = SocketTable::default();
    let mut changes = Vec::new();
    for event in life.events(0) {
        table.apply(&event, &mut changes);
    }
    let told: Vec<_> = changes.iter().map(|change| change.what.kind()).collect();
    assert_eq!(
        told,
        [
            Kind::Socket,
            Kind::State,
            Kind::State,
            Kind::Connect,
            Kind::Close,
            Kind::State,
            Kind::State,
            Kind::State,
            Kind::End
        ]
    );
    assert!(table.is_empty());
    let end = changes.last().unwrap();
    assert_eq!(end.mono_ns, 1_071);
    assert_eq!(end.socket.owner.as_ref().unwrap().pid, 7);
}

/// Its first steps are made by packets, under whoever was interrupted.
fn server() -> LifeEvent {
    use TcpState::{Close, CloseWait, Established, LastAck, Listen, SynRecv};
    life_of(&[
        step(10, EventKind::State, 0, [Listen, SynRecv]),
        step(11, EventKind::State, 0, [SynRecv, Established]),
        step(20, EventKind::Accept, 0, [Close, Close]),
        step(30, EventKind::State, 0, [Established, CloseWait]),
        close(40),
        step(41, EventKind::State, 0, [CloseWait, LastAck]),
        step(50, EventKind::State, 0, [LastAck, Close]),
        step(51, EventKind::Destroy, 0, [Close, Close]),
    ])
}

#[test]
fn rows_of_a_life_name_the_owner_from_the_call_on_that_makes_it_one() {
    let told = server();
    let life = Life::new(&told).unwrap();
    let (mut table, mut changes) = (SocketTable::default(), Vec::new());
    assert!(table.apply_whole(life, &mut changes));
    let owners = changes
        .iter()
        .map(|it| it.socket.owner.as_ref().map(|it| it.pid));
    let owners: Vec<_> = owners.collect();
    assert_eq!(owners[..2], [None, None]);
    assert_eq!(owners[2..], [Some(7); 6]);
    let exact = changes
        .iter()
        .map(|it| it.socket.ownership.word() == "exact");
    assert_eq!(exact.filter(|it| *it).count(), 6);
    let parts: Vec<_> = changes.iter().map(|it| it.socket.takes_part).collect();
    assert_eq!(parts.iter().position(|it| *it), Some(2));
    assert_eq!(parts.iter().filter(|it| **it).count(), 1);
}

#[test]
fn what_is_known_already_is_left_out() {
    let told = client();
    let life = Life::decode(told.as_bytes()).unwrap();
    assert_eq!(kinds(&life, 7), [EventKind::State, EventKind::Destroy]);
    assert_eq!(kinds(&life, 99), []);
}

#[test]
fn a_life_is_whole_from_one_beginning_to_one_end() {
    let is_whole = |change: fn(&mut LifeEvent)| {
        let mut life = client();
        change(&mut life);
        Life::new(&life).unwrap().is_whole()
    };
    assert!(is_whole(|_| {}));
    // It is told when it has become old.
    assert!(!is_whole(|life| life.count -= 1));
    // io_uring tells of the socket after what it did with it.
    assert!(!is_whole(|life| life.steps.swap(0, 1)));
    assert!(!is_whole(|life| life.steps[3] = life.steps[0]));
    assert!(!is_whole(|life| life.steps[3] = life.steps[8]));
    assert!(!is_whole(|life| life.socket.id = 0));
    assert!(!is_whole(|life| life.socket.family = FAMILY_UNIX));
    assert!(!is_whole(|life| life.count = 0));
    let child = step(
        10,
        EventKind::State,
        0,
        [TcpState::Listen, TcpState::SynRecv],
    );
    let mut life = client();
    life.steps[0] = child;
    assert!(Life::new(&life).unwrap().is_whole());
    // Where connections only are told, it begins with the second step.
    life.steps[0] = client().steps[1];
    let life = Life::new(&life).unwrap();
    assert!(life.is_whole() && life.is_of_older());
}

#[test]
fn those_that_made_calls_are_named_once_in_a_row() {
    let mut life = client();
    for (step, tgid) in life.steps.iter_mut().zip([7, 9, 9, 7, 8, 9, 9, 9, 9]) {
        step.tgid = tgid;
    }
    let life = Life::new(&life).unwrap();
    assert_eq!(life.actors().collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn one_that_is_being_told_has_as_many_steps_as_there_is_room() {
    let mut told = client();
    told.count = (1 << 32) + 12;
    for step in &mut told.steps {
        step.kind = EventKind::Destroy as u8;
    }
    assert_eq!(Life::new(&told).unwrap().len(), STEPS);
}

#[test]
fn addresses_come_late_and_stay() {
    let found = SocketInfo {
        lport: 1,
        rport: 2,
        ..client().socket
    };
    let mut young = client();
    (young.socket.lport, young.socket.rport) = (0, 0);
    for (mut life, expected) in [(young, [1, 2]), (client(), [40_000, 80])] {
        place(&mut life, &found);
        let life = Life::new(&life).unwrap();
        let Event::Socket(event) = life.events(0).next().unwrap() else {
            panic!("it begins with another event");
        };
        assert_eq!([event.socket.lport, event.socket.rport], expected);
    }
}

#[test]
fn numbers_that_name_nothing_are_refused() {
    let mut life = client();
    life.steps[3].kind = EventKind::Fork as u8;
    assert_eq!(
        Life::decode(life.as_bytes()),
        Err(DecodeError::UnknownKind(EventKind::Fork as u16))
    );
    life = client();
    life.steps[1].states = TcpState::Close as u8 | (0xf << 4);
    assert_eq!(Life::new(&life), Err(DecodeError::UnknownState(15)));
    let bytes = client();
    let bytes = &bytes.as_bytes()[..200];
    assert_eq!(Life::decode(bytes), Err(DecodeError::Truncated(200)));
    assert!(is_life(bytes) && !is_life(&bytes[..20]));
}
