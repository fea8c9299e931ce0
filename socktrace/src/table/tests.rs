//! Lives told event by event, with whatever goes missing on the way.

use proptest::prelude::*;
use socktrace_common::{
    event::{
        AcceptEvent, CallEvent, CloseEvent, ConnectEvent, DestroyEvent, EventKind, ForkEvent,
        Header, NameEvent, NameOf, ProcessEvent, STATE_FIN_RECEIVED, SocketEvent, StateEvent,
    },
    socket::{FAMILY_IPV4, FAMILY_UNIX, INODE_ID, PROTO_TCP, PROTO_UDP, SocketInfo, TcpState},
};
use zerocopy::FromZeros as _;

use super::SocketTable;
use crate::{
    change::{Bytes, Change, Endpoint, Kind, Ownership, Reason, Role, UnixName, What},
    event::Event,
    source::Adopted,
};

const CLIENT: u64 = 7;
const SERVER: u64 = 8;
const PROCESS: u32 = 100;
const ACCEPTOR: u32 = 200;

fn header(kind: EventKind, now: u64, tgid: u32) -> Header {
    Header {
        mono_ns: now,
        kind: kind as u16,
        tgid,
        tid: tgid,
        ..Header::new_zeroed()
    }
}

fn info(id: u64, lport: u16, rport: u16) -> SocketInfo {
    SocketInfo {
        id,
        lport,
        rport,
        proto: PROTO_TCP,
        family: FAMILY_IPV4,
        netns: 1,
        ..SocketInfo::new_zeroed()
    }
}

fn process(now: u64, pid: u32) -> Event {
    Event::Process(ProcessEvent {
        header: header(EventKind::Process, now, pid),
        comm: *b"name\0\0\0\0\0\0\0\0\0\0\0\0",
        start_ns: 0,
    })
}

fn socket(now: u64) -> Event {
    Event::Socket(SocketEvent {
        header: header(EventKind::Socket, now, PROCESS),
        socket: info(CLIENT, 0, 0),
        fd: 3,
        socket_type: 1,
    })
}

fn state(now: u64, tgid: u32, socket: SocketInfo, old: TcpState, new: TcpState) -> StateEvent {
    StateEvent {
        header: header(EventKind::State, now, tgid),
        socket,
        old: old as u8,
        new: new as u8,
        connect_fd: -1,
        ..StateEvent::new_zeroed()
    }
}

fn destroy(now: u64, id: u64) -> Event {
    Event::Destroy(DestroyEvent {
        header: header(EventKind::Destroy, now, 0),
        socket: info(id, 40_000, 80),
        error: 0,
        pad: 0,
    })
}

/// A client's whole life, in a softirq of somebody else where the kernel has it so.
fn life() -> Vec<Event> {
    use TcpState::{Close, Established, FinWait1, FinWait2, SynSent};
    let somebody = 999;
    let connected = info(CLIENT, 40_000, 80);
    let begun = StateEvent {
        connect_fd: 3,
        ..state(20, PROCESS, info(CLIENT, 0, 80), Close, SynSent)
    };
    let over = StateEvent {
        bytes_acked: 12,
        bytes_received: 6,
        flags: STATE_FIN_RECEIVED,
        ..state(80, somebody, connected, FinWait2, Close)
    };
    vec![
        process(9, PROCESS),
        socket(10),
        Event::State(begun),
        Event::State(state(50, somebody, connected, SynSent, Established)),
        Event::Connect(ConnectEvent {
            header: header(EventKind::Connect, 55, PROCESS),
            socket: connected,
            fd: 3,
            ..ConnectEvent::new_zeroed()
        }),
        Event::Close(CloseEvent {
            header: header(EventKind::Close, 60, PROCESS),
            socket: connected,
            fd: 3,
            by: 1,
            references_left: 0,
        }),
        Event::State(state(61, PROCESS, connected, Established, FinWait1)),
        Event::State(state(70, somebody, connected, FinWait1, FinWait2)),
        Event::State(over),
        destroy(90, CLIENT),
    ]
}

fn apply(table: &mut SocketTable, events: &[Event]) -> Vec<Change> {
    let mut changes = Vec::new();
    for event in events {
        table.apply(event, &mut changes);
    }
    changes
}

#[test]
fn a_clients_life() {
    let mut table = SocketTable::default();
    let changes = apply(&mut table, &life());
    let kinds: Vec<_> = changes.iter().map(|change| change.what.kind()).collect();
    assert_eq!(
        kinds,
        [
            Kind::Socket,
            Kind::State,
            Kind::State,
            Kind::Connect,
            Kind::Close,
            Kind::State,
            Kind::State,
            Kind::State,
            Kind::End,
        ]
    );
    for change in &changes {
        let owner = change.socket.owner.as_ref().unwrap();
        assert_eq!((owner.pid, change.fd), (PROCESS, Some(3)));
        assert_eq!(change.socket.ownership, Ownership::Exact);
        // Whoever was interrupted is never the one who acted.
        assert!(matches!(change.actor, None | Some(PROCESS)), "{change:?}");
    }
    assert_eq!(
        changes[3].what,
        What::Connect {
            error: None,
            latency_ns: Some(30)
        }
    );
    assert_eq!(
        changes[8].what,
        What::End {
            lifetime_ns: Some(80),
            role: Role::Client,
            reason: Reason::Closed,
            bytes: Some(Bytes {
                sent: 10,
                received: 5
            }),
        }
    );
    assert!(table.is_empty());
}

fn udp(state: TcpState, lport: u16, rport: u16) -> SocketInfo {
    SocketInfo {
        proto: PROTO_UDP,
        state: state as u8,
        raddr: if rport == 0 { [0; 16] } else { [9; 16] },
        ..info(CLIENT, lport, rport)
    }
}

fn connect(now: u64, socket: SocketInfo, ret: i32) -> Event {
    Event::Connect(ConnectEvent {
        header: header(EventKind::Connect, now, PROCESS),
        socket,
        fd: 3,
        ret,
        ..ConnectEvent::new_zeroed()
    })
}

#[test]
fn a_datagram_socket_tells_of_each_connect() {
    use TcpState::{Close, Established};
    let events = [
        connect(10, udp(Established, 40_000, 53), 0),
        connect(20, udp(Established, 40_000, 54), 0),
        connect(30, udp(Close, 0, 0), 0),
        Event::Destroy(DestroyEvent {
            header: header(EventKind::Destroy, 40, 0),
            socket: udp(Close, 0, 0),
            error: 0,
            pad: 0,
        }),
    ];
    let mut table = SocketTable::default();
    let changes = apply(&mut table, &events);
    let remotes: Vec<_> = changes
        .iter()
        .map(|change| change.socket.remote.port)
        .collect();
    assert_eq!(remotes, [Some(53), Some(54), None, None]);
    assert_eq!(changes[2].socket.local, Endpoint::default());
    let ended = What::End {
        lifetime_ns: None,
        role: Role::Client,
        reason: Reason::Closed,
        bytes: None,
    };
    assert_eq!(changes[3].what, ended);
    assert!(table.is_empty());
}

/// A Unix socket with inode 5, and with a cookie or without.
fn unix(cookie: u64) -> SocketInfo {
    SocketInfo {
        id: if cookie == 0 { INODE_ID | 5 } else { cookie },
        family: FAMILY_UNIX,
        inode: 5,
        ..SocketInfo::new_zeroed()
    }
}

fn name(of: NameOf, text: &[u8]) -> Event {
    let mut event = NameEvent::new_zeroed();
    event.header = header(EventKind::Name, 20, PROCESS);
    (event.socket, event.of) = (unix(0), of as u16);
    event.length = u16::try_from(text.len()).unwrap();
    event.name[..text.len()].copy_from_slice(text);
    Event::Name(event)
}

#[test]
fn a_socket_that_gets_its_cookie_late_stays_the_same() {
    let born = Event::Socket(SocketEvent {
        header: header(EventKind::Socket, 10, PROCESS),
        socket: unix(0),
        fd: 3,
        socket_type: 1,
    });
    let end = Event::Destroy(DestroyEvent {
        header: header(EventKind::Destroy, 40, 0),
        socket: unix(77),
        error: 0,
        pad: 0,
    });
    let bound = Event::Bind(CallEvent {
        header: header(EventKind::Bind, 20, PROCESS),
        socket: unix(0),
        fd: 3,
        ..CallEvent::new_zeroed()
    });
    let mut table = SocketTable::default();
    let changes = apply(
        &mut table,
        &[born, name(NameOf::Local, b"\0one"), bound, end],
    );
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (change.what.kind(), change.socket.cookie))
        .collect();
    let expected = [
        (Kind::Socket, None),
        (Kind::Bind, None),
        (Kind::End, Some(77)),
    ];
    assert_eq!(seen, expected);
    let end = &changes[2];
    assert_eq!(end.socket.owner.as_ref().unwrap().pid, PROCESS);
    let abstract_name = UnixName::Abstract((*b"one").into());
    assert_eq!(end.socket.local_name(), Some(&abstract_name));
    assert!(matches!(
        end.what,
        What::End {
            lifetime_ns: Some(30),
            ..
        }
    ));
    assert!(table.is_empty());
    assert_eq!(table.holders.of(PROCESS).count(), 0);
}

#[test]
fn a_name_that_was_not_got_is_in_one_row_only() {
    let connected = SocketInfo {
        state: TcpState::Established as u8,
        ..unix(0)
    };
    let mut table = SocketTable::default();
    let changes = apply(
        &mut table,
        &[
            name(NameOf::Asked, b"nowhere\0"),
            connect(10, unix(0), -2),
            name(NameOf::Remote, b"there"),
            connect(20, connected, 0),
            connect(30, unix(0), 0),
        ],
    );
    let remotes: Vec<_> = changes
        .iter()
        .map(|change| {
            change
                .socket
                .remote_name()
                .map(|name| name.text().into_owned())
        })
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(remotes, [text("nowhere"), text("there"), None]);
}

#[test]
fn an_accepted_socket_has_no_owner_before() {
    use TcpState::{Established, Listen, SynRecv};
    let child = info(SERVER, 80, 40_000);
    let mut table = SocketTable::default();
    let born = [
        Event::State(state(10, 999, child, Listen, SynRecv)),
        Event::State(state(20, 999, child, SynRecv, Established)),
    ];
    for change in apply(&mut table, &born) {
        assert_eq!(change.socket.ownership, Ownership::Unknown);
        assert!(change.socket.owner.is_none());
        assert_eq!(change.actor, None);
    }
    let accept = Event::Accept(AcceptEvent {
        header: header(EventKind::Accept, 50, ACCEPTOR),
        socket: child,
        listener: 5,
        fd: 9,
        pad: 0,
    });
    let accepted = &apply(&mut table, &[accept])[0];
    assert_eq!(accepted.socket.owner.as_ref().unwrap().pid, ACCEPTOR);
    let queued = What::Accept {
        queued_ns: Some(30),
        listener: Some(5),
    };
    assert_eq!(accepted.what, queued);
}

#[test]
fn a_socket_that_was_there_first_has_no_age_and_no_owner() {
    let end = &apply(&mut SocketTable::default(), &[destroy(90, CLIENT)])[0];
    assert_eq!(
        end.what,
        What::End {
            lifetime_ns: None,
            role: Role::Unknown,
            reason: Reason::Unknown,
            bytes: None,
        }
    );
    assert!(end.socket.owner.is_none());
}

#[test]
fn an_adopted_socket_has_an_owner_and_no_birth() {
    let mut table = SocketTable::default();
    table.adopt(&adopted(TcpState::CloseWait));
    let Event::Close(close) = life()[5] else {
        unreachable!()
    };
    let closed = &apply(&mut table, &[Event::Close(close)])[0];
    assert_eq!(closed.socket.ownership, Ownership::Adopted);
    let end = &apply(&mut table, &[destroy(90, CLIENT)])[0];
    assert_eq!(end.socket.owner.as_ref().unwrap().pid, PROCESS);
    // It may have sent and received for days.
    let what = What::End {
        lifetime_ns: None,
        role: Role::Unknown,
        reason: Reason::Unknown,
        bytes: None,
    };
    assert_eq!(end.what, what);
    assert!(table.is_empty());
}

#[test]
fn what_an_event_told_first_stands() {
    let mut table = SocketTable::default();
    apply(&mut table, &[process(9, PROCESS), socket(10)]);
    table.adopt(&adopted(TcpState::Established));
    assert_eq!(table.len(), 1);
    let end = &apply(&mut table, &[destroy(90, CLIENT)])[0];
    assert_eq!(end.socket.ownership, Ownership::Exact);
    assert!(matches!(
        end.what,
        What::End {
            lifetime_ns: Some(80),
            ..
        }
    ));
}

fn adopted(state: TcpState) -> Adopted {
    Adopted {
        socket: SocketInfo {
            state: state as u8,
            ..info(CLIENT, 40_000, 80)
        },
        holders: vec![(PROCESS, 3)],
        served: false,
    }
}

#[test]
fn a_socket_without_an_identity_is_told_and_not_kept() {
    let mut table = SocketTable::default();
    let Event::Socket(mut event) = socket(10) else {
        unreachable!()
    };
    event.socket.id = 0;
    let changes = apply(&mut table, &[Event::Socket(event)]);
    assert_eq!(changes[0].socket.cookie, None);
    assert_eq!(changes[0].socket.owner.as_ref().unwrap().pid, PROCESS);
    assert!(table.is_empty());
}

#[test]
fn a_child_lets_go_of_what_it_inherited() {
    let mut table = SocketTable::default();
    let fork = Event::Fork(ForkEvent {
        header: header(EventKind::Fork, 20, PROCESS),
        child: 101,
        ..ForkEvent::new_zeroed()
    });
    apply(&mut table, &[process(9, PROCESS), socket(10), fork]);
    let exit = Event::Exit(header(EventKind::Exit, 30, 101));
    let closed = &apply(&mut table, &[exit])[0];
    assert_eq!((closed.actor, closed.fd), (Some(101), Some(3)));
    assert_eq!(closed.socket.owner.as_ref().unwrap().pid, PROCESS);
    assert_eq!(table.len(), 1);
}

#[test]
fn an_exit_forgets_the_process_and_not_its_sockets() {
    let mut table = SocketTable::default();
    apply(&mut table, &[process(9, PROCESS), socket(10)]);
    assert!(table.knows(PROCESS));
    apply(
        &mut table,
        &[Event::Exit(header(EventKind::Exit, 30, PROCESS))],
    );
    assert!(!table.knows(PROCESS));
    // A tombstone is still a socket: its end, when it comes, has an owner.
    let end = &apply(&mut table, &[destroy(40, CLIENT)])[0];
    assert_eq!(end.socket.owner.as_ref().unwrap().pid, PROCESS);
}

proptest! {
    /// Whatever is lost, repeated or late: no panic, no time below zero, nothing left behind
    /// after the end.
    #[test]
    fn a_life_with_holes(picks in prop::collection::vec(0_usize..10, 0..30)) {
        let life = life();
        let mut table = SocketTable::default();
        let picked: Vec<_> = picks.iter().map(|&pick| life[pick]).collect();
        apply(&mut table, &picked);
        apply(&mut table, &[destroy(1000, CLIENT)]);
        prop_assert!(table.is_empty());
    }
}
