//! Lives told event by event, with whatever goes missing on the way.

use proptest::prelude::*;
use socktrace_common::{
    event::{
        AcceptEvent, CallEvent, CloseEvent, ConnectEvent, DESCRIPTOR_WORDS, DestroyEvent,
        EventKind, ExecEvent, ForkEvent, Header, NameEvent, NameOf, ProcessEvent,
        STATE_FIN_RECEIVED, SocketEvent, StateEvent,
    },
    socket::{
        FAMILY_IPV4, FAMILY_NETLINK, FAMILY_PACKET, FAMILY_UNIX, INODE_ID, PROTO_MPTCP, PROTO_RAW,
        PROTO_TCP, PROTO_UDP, SocketInfo, TcpState,
    },
};
use zerocopy::FromZeros as _;

use super::{Place, SocketTable};
use crate::{
    change::{Bytes, Change, Endpoint, Kind, Learned, Ownership, Reason, Role, UnixName, What},
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

#[test]
fn who_has_no_number_here_is_unknown() {
    let mut table = SocketTable::default();
    let changes = apply(
        &mut table,
        &[
            Event::Socket(SocketEvent {
                header: header(EventKind::Socket, 10, 0),
                socket: info(CLIENT, 0, 0),
                fd: 3,
                socket_type: 1,
            }),
            Event::State(state(
                20,
                0,
                info(CLIENT, 0, 80),
                TcpState::Close,
                TcpState::SynSent,
            )),
        ],
    );
    for change in &changes {
        assert_eq!(change.socket.ownership, Ownership::Unknown);
        assert_eq!((change.actor, change.tid), (None, None));
        assert!(change.socket.owner.is_none());
    }
    assert_eq!(changes.len(), 2);
    assert!(table.knows(0), "there is nothing to ask about it");
}

#[test]
fn a_socket_that_is_told_of_late_keeps_what_it_has_done() {
    use TcpState::{Close, Established, SynSent};
    let mut table = SocketTable::default();
    let late = Event::Socket(SocketEvent {
        header: header(EventKind::Socket, 60, PROCESS),
        socket: info(CLIENT, 40_000, 80),
        fd: -1,
        socket_type: 1,
    });
    let changes = apply(
        &mut table,
        &[
            Event::State(state(20, PROCESS, info(CLIENT, 0, 80), Close, SynSent)),
            Event::State(state(
                50,
                999,
                info(CLIENT, 40_000, 80),
                SynSent,
                Established,
            )),
            late,
            destroy(90, CLIENT),
        ],
    );
    let end = changes.last().unwrap();
    let What::End {
        lifetime_ns, role, ..
    } = end.what
    else {
        panic!("{end:?}");
    };
    assert_eq!((lifetime_ns, role), (None, Role::Client));
    assert_eq!(end.fd, None, "a direct descriptor has no number");
    assert_eq!(end.socket.owner.as_ref().unwrap().pid, PROCESS);
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
    found(&mut table, 1, &[adopted(TcpState::CloseWait)]);
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
    found(&mut table, 20, &[adopted(TcpState::Established)]);
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
        holders: [(PROCESS, 3)].into_iter().collect(),
        served: false,
        born_ns: 5,
        state_since_ns: 5,
        until_ns: None,
        name: None,
    }
}

/// A whole snapshot that begins at `now` and shows these; what it taught.
fn found(table: &mut SocketTable, now: u64, sockets: &[Adopted]) -> Vec<Change> {
    let mut changes = Vec::new();
    table.snapshot_begins(now);
    for socket in sockets {
        table.adopt(socket, &mut changes);
    }
    table.snapshot_ends(true, &mut changes);
    changes
}

fn learned(changes: &[Change]) -> Vec<(Learned, TcpState, TcpState)> {
    let learned = changes.iter().map(|change| match change.what {
        What::Snapshot {
            learned,
            old: Some(old),
            new: Some(new),
            ..
        } => (learned, old, new),
        _ => panic!("{change:?}"),
    });
    learned.collect()
}

/// What a snapshot shows of a socket that is not TCP.
fn other(socket: SocketInfo, holders: &[(u32, i32)]) -> Adopted {
    Adopted {
        socket,
        holders: holders.iter().copied().collect(),
        ..adopted(TcpState::Close)
    }
}

fn socket_of(now: u64, socket: SocketInfo) -> Event {
    Event::Socket(SocketEvent {
        header: header(EventKind::Socket, now, PROCESS),
        socket,
        fd: 3,
        socket_type: 1,
    })
}

/// What was learned of sockets that have no states: they show none.
fn stateless(changes: &[Change]) -> Vec<Learned> {
    let learned = changes.iter().map(|change| match change.what {
        What::Snapshot {
            learned,
            old: None,
            new: None,
            in_state_ns: None,
            ..
        } => learned,
        _ => panic!("{change:?}"),
    });
    learned.collect()
}

#[test]
fn a_snapshot_that_gives_a_socket_its_cookie_teaches_nothing() {
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &[socket_of(10, unix(0))]);
    let connected = SocketInfo {
        state: TcpState::Established as u8,
        ..unix(77)
    };
    let changes = found(&mut table, 100, &[other(connected, &[(PROCESS, 3)])]);
    assert_eq!(changes.len(), 0);
    assert_eq!(table.len(), 1);
    let entry = table.get(77).unwrap();
    assert_eq!(entry.view().cookie, Some(77));
    assert_eq!((entry.age_ns(110), entry.age_is_exact()), (Some(100), true));
    // Who holds it holds it under its new identity.
    let exit = Event::Exit(header(EventKind::Exit, 150, PROCESS));
    let closed = apply(&mut table, &[exit]);
    assert_eq!(closed[0].socket.cookie, Some(77));
    assert_eq!(table.get(77).unwrap().holders().count(), 0);
}

#[test]
fn what_was_told_before_the_first_snapshot_gave_the_cookie_is_of_the_same_socket() {
    let mut table = SocketTable::default();
    let shown = Adopted {
        name: UnixName::new(b"\0one"),
        ..other(unix(77), &[(PROCESS, 3)])
    };
    found(&mut table, 20, &[shown]);
    let told = apply(
        &mut table,
        &[socket_of(10, unix(0)), connect(15, unix(0), 0)],
    );
    assert_eq!(table.len(), 1);
    let abstract_name = UnixName::Abstract((*b"one").into());
    for change in &told {
        assert_eq!(change.socket.cookie, Some(77));
        assert_eq!(change.socket.ownership, Ownership::Exact);
        assert_eq!(change.socket.local_name(), Some(&abstract_name));
    }
    assert!(table.get(77).unwrap().age_is_exact());
    apply(&mut table, &[destroy(30, 77)]);
    assert!(table.is_empty());
    assert_eq!(table.holders.of(PROCESS).count(), 0);
}

#[test]
fn an_inode_that_is_used_again_names_the_socket_that_has_it_now() {
    let mut table = SocketTable::default();
    found(&mut table, 20, &[other(unix(77), &[])]);
    apply(&mut table, &[destroy(30, 77), socket_of(40, unix(0))]);
    assert_eq!(table.len(), 1);
    assert_eq!(table.get(unix(0).id).unwrap().info().id, unix(0).id);
    apply(&mut table, &[destroy(50, unix(0).id)]);
    assert!(table.is_empty());
}

#[test]
fn what_has_no_identity_takes_none_from_a_socket() {
    let mut table = SocketTable::default();
    apply(&mut table, &[socket_of(10, unix(0))]);
    let nameless = SocketInfo { id: 0, ..unix(0) };
    apply(&mut table, &[connect(15, nameless, 0)]);
    assert_eq!(table.iter().count(), 1);
    assert!(table.get(unix(0).id).is_some());
}

#[test]
fn a_socket_that_ended_before_it_got_its_cookie_is_not_taken_in_again() {
    let mut table = SocketTable::default();
    apply(&mut table, &[socket_of(10, unix(0))]);
    let mut changes = Vec::new();
    table.snapshot_begins(100);
    let end = Event::Destroy(DestroyEvent {
        header: header(EventKind::Destroy, 110, 0),
        socket: unix(0),
        error: 0,
        pad: 0,
    });
    apply(&mut table, &[end]);
    table.adopt(&other(unix(77), &[]), &mut changes);
    table.snapshot_ends(true, &mut changes);
    assert_eq!(changes.len(), 0);
    assert!(table.is_empty());
}

#[test]
fn sockets_without_states_learn_none() {
    use TcpState::{Close, Established};
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &[socket_of(10, udp(Close, 0, 0))]);
    // Connected, which no event told: the peer is news, and the state is none.
    let changes = found(
        &mut table,
        100,
        &[other(udp(Established, 40_000, 53), &[(PROCESS, 3)])],
    );
    assert_eq!(stateless(&changes), [Learned::Address]);
    assert_eq!(table.corrections().of(Learned::State), 0);
}

#[test]
fn a_port_that_a_send_got_is_learned() {
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &[socket_of(10, udp(TcpState::Close, 0, 0))]);
    let sent = other(udp(TcpState::Close, 40_000, 0), &[(PROCESS, 3)]);
    let changes = found(&mut table, 100, std::slice::from_ref(&sent));
    assert_eq!(stateless(&changes), [Learned::Address]);
    assert_eq!(changes[0].socket.local.port, Some(40_000));
    assert_eq!(found(&mut table, 200, &[sent]).len(), 0);
}

#[test]
fn a_name_that_no_event_told_is_learned() {
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &[socket_of(10, unix(77))]);
    let named = Adopted {
        name: UnixName::new(b"/run/one"),
        ..other(unix(77), &[(PROCESS, 3)])
    };
    let changes = found(&mut table, 100, std::slice::from_ref(&named));
    assert_eq!(stateless(&changes), [Learned::Address]);
    assert_eq!(changes[0].socket.local_name(), named.name.as_ref());
    assert_eq!(found(&mut table, 200, &[named]).len(), 0);
}

/// In how many snapshots in a row a socket must be missing to be gone; `None` for one that never
/// is.
fn missed(events: &[Event], lost: bool) -> Option<usize> {
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, events);
    if lost {
        table.lost(40);
    }
    (1..5)
        .find(|&count| {
            let changes = found(&mut table, 100 * count, &[]);
            assert!(changes.is_empty() || stateless(&changes) == [Learned::Gone]);
            !changes.is_empty()
        })
        .map(|count| usize::try_from(count).unwrap())
}

#[test]
fn what_a_list_does_not_show_is_gone_where_it_shows_all() {
    use TcpState::Close;
    let of = |family, proto| SocketInfo {
        family,
        proto,
        ..udp(Close, 0, 0)
    };
    let bind = |socket| {
        Event::Bind(CallEvent {
            header: header(EventKind::Bind, 20, PROCESS),
            socket,
            fd: 3,
            ..CallEvent::new_zeroed()
        })
    };
    let netlink = of(FAMILY_NETLINK, 0);
    for (events, expected) in [
        (vec![socket_of(10, unix(0))], Some(2)),
        (vec![socket_of(10, of(FAMILY_PACKET, 0))], Some(2)),
        (vec![socket_of(10, udp(Close, 40_000, 0))], Some(2)),
        // Without a port it is found by its descriptors, if it has any.
        (vec![socket_of(10, udp(Close, 0, 0))], None),
        (vec![socket_of(10, of(FAMILY_IPV4, PROTO_RAW))], None),
        (vec![socket_of(10, of(FAMILY_IPV4, PROTO_MPTCP))], None),
        (vec![socket_of(10, netlink)], None),
        (vec![socket_of(10, netlink), bind(netlink)], Some(2)),
    ] {
        assert_eq!(missed(&events, false), expected, "{events:?}");
        // Its end may be what was lost.
        assert_eq!(missed(&events, true), Some(1), "{events:?}");
    }
}

#[test]
fn a_netlink_socket_that_was_listed_once_is_gone_when_it_is_not() {
    let netlink = SocketInfo {
        family: FAMILY_NETLINK,
        ..unix(77)
    };
    let mut table = SocketTable::default();
    found(&mut table, 1, &[other(netlink, &[(PROCESS, 3)])]);
    assert_eq!(found(&mut table, 100, &[]).len(), 0);
    assert_eq!(stateless(&found(&mut table, 200, &[])), [Learned::Gone]);
}

#[test]
fn a_raw_socket_keeps_the_addresses_that_no_list_shows() {
    let raw = SocketInfo {
        proto: PROTO_RAW,
        ..udp(TcpState::Established, 0, 0)
    };
    let peer = SocketInfo {
        raddr: [9; 16],
        ..raw
    };
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &[socket_of(10, raw), connect(20, peer, 0)]);
    assert_eq!(
        found(&mut table, 100, &[other(raw, &[(PROCESS, 3)])]).len(),
        0
    );
    assert_eq!(table.get(CLIENT).unwrap().info().raddr, [9; 16]);
}

#[test]
fn a_snapshot_that_agrees_teaches_nothing() {
    use TcpState::Established;
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    assert_eq!(found(&mut table, 100, &[adopted(Established)]).len(), 0);
    assert_eq!(found(&mut table, 200, &[adopted(Established)]).len(), 0);
    assert!(table.corrections().iter().all(|(_, count)| count == 0));
}

#[test]
fn what_was_lost_is_learned() {
    use TcpState::{Close, CloseWait, Established};
    let mut table = SocketTable::default();
    // Its birth is known, and then nothing more.
    apply(&mut table, &[process(9, PROCESS), socket(10)]);
    table.lost(40);
    assert!(!table.get(CLIENT).unwrap().is_complete());
    let changes = found(&mut table, 100, &[adopted(CloseWait)]);
    assert_eq!(
        learned(&changes),
        [
            (Learned::State, Close, CloseWait),
            (Learned::Address, CloseWait, CloseWait)
        ]
    );
    assert_eq!(changes[1].socket.remote.port, Some(80));
    let entry = table.get(CLIENT).unwrap();
    assert!(entry.is_complete());
    assert_eq!(entry.view().ownership, Ownership::Exact);
    // When it entered the state is not known, only since when at least.
    assert_eq!(entry.in_state_ns(105), Some(100));
    let over = Event::State(state(
        300,
        0,
        info(CLIENT, 40_000, 80),
        CloseWait,
        Established,
    ));
    let What::State { in_old_ns, .. } = apply(&mut table, &[over])[0].what else {
        unreachable!()
    };
    assert_eq!(in_old_ns, None);
}

#[test]
fn who_was_not_seen_to_accept_is_learned() {
    use TcpState::{Established, Listen, SynRecv};
    let mut table = SocketTable::default();
    let child = info(CLIENT, 40_000, 80);
    apply(
        &mut table,
        &[
            Event::State(state(10, 999, child, Listen, SynRecv)),
            Event::State(state(20, 999, child, SynRecv, Established)),
        ],
    );
    let changes = found(&mut table, 100, &[adopted(Established)]);
    assert_eq!(
        learned(&changes),
        [(Learned::Owner, Established, Established)]
    );
    assert_eq!(changes[0].socket.ownership, Ownership::Adopted);
    assert_eq!(changes[0].socket.owner.as_ref().unwrap().pid, PROCESS);
}

#[test]
fn holders_are_whoever_the_snapshot_says() {
    use TcpState::Established;
    let mut table = SocketTable::default();
    found(&mut table, 1, &[]);
    apply(&mut table, &life()[..5]);
    let passed_on = Adopted {
        holders: [(PROCESS, 3), (ACCEPTOR, 8)].into_iter().collect(),
        ..adopted(Established)
    };
    assert_eq!(found(&mut table, 100, &[passed_on]).len(), 0);
    assert_eq!(table.corrections().of(Learned::Holders), 1);
    let holders = |table: &SocketTable| table.get(CLIENT).unwrap().holders().collect::<Vec<_>>();
    assert_eq!(holders(&table), [(PROCESS, 3), (ACCEPTOR, 8)]);
    // It exits, and lets go of what no call told of.
    let closed = apply(
        &mut table,
        &[Event::Exit(header(EventKind::Exit, 150, ACCEPTOR))],
    );
    assert_eq!((closed[0].actor, closed[0].fd), (Some(ACCEPTOR), Some(8)));
    assert_eq!(holders(&table), [(PROCESS, 3)]);
}

#[test]
fn a_birth_that_is_told_after_the_snapshot_leaves_it_its_holders() {
    use TcpState::{Established, Listen, SynRecv};
    let mut table = SocketTable::default();
    found(&mut table, 30, &[adopted(Established)]);
    let child = info(CLIENT, 40_000, 80);
    let born = [
        Event::State(state(10, 999, child, Listen, SynRecv)),
        Event::State(state(20, 999, child, SynRecv, Established)),
    ];
    for change in apply(&mut table, &born) {
        assert_eq!(change.socket.owner.unwrap().pid, PROCESS);
    }
    let entry = table.get(CLIENT).unwrap();
    assert_eq!(entry.holders().collect::<Vec<_>>(), [(PROCESS, 3)]);
    assert!(entry.age_is_exact());
}

#[test]
fn an_event_is_newer_than_the_snapshot_that_was_being_taken() {
    use TcpState::{CloseWait, Established};
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    let mut changes = Vec::new();
    table.snapshot_begins(100);
    let fin = state(110, 0, info(CLIENT, 40_000, 80), Established, CloseWait);
    apply(&mut table, &[Event::State(fin)]);
    table.adopt(&adopted(Established), &mut changes);
    table.snapshot_ends(true, &mut changes);
    assert_eq!(changes.len(), 0);
    assert_eq!(table.get(CLIENT).unwrap().state(), CloseWait);
}

#[test]
fn a_socket_that_ended_meanwhile_is_not_taken_in_again() {
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    let mut changes = Vec::new();
    table.snapshot_begins(100);
    apply(&mut table, &[destroy(110, CLIENT)]);
    table.adopt(&adopted(TcpState::Established), &mut changes);
    table.snapshot_ends(true, &mut changes);
    assert_eq!(changes.len(), 0);
    assert!(table.is_empty());
}

#[test]
fn a_socket_is_gone_when_it_was_missed_twice_or_its_end_may_be_lost() {
    use TcpState::Established;
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    assert_eq!(found(&mut table, 100, &[]).len(), 0);
    assert_eq!(
        learned(&found(&mut table, 200, &[])),
        [(Learned::Gone, Established, Established)]
    );
    assert!(table.is_empty());
    apply(&mut table, &life()[..5]);
    table.lost(300);
    assert_eq!(found(&mut table, 400, &[]).len(), 1);
    assert!(table.is_empty());
}

#[test]
fn a_descriptor_that_names_another_socket_by_now_proves_nothing() {
    use TcpState::Established;
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    table.lost(90);
    // Its end was lost, and the birth of the one that has its descriptor.
    let mut another = adopted(Established);
    another.socket.id = 99;
    let changes = found(&mut table, 100, &[another]);
    assert_eq!(
        learned(&changes).iter().map(|it| it.0).collect::<Vec<_>>(),
        [Learned::Open, Learned::Gone]
    );
}

#[test]
fn a_socket_without_a_port_may_have_no_descriptor_and_is_not_gone() {
    let mut table = SocketTable::default();
    apply(&mut table, &[process(9, PROCESS), socket(10)]);
    for now in [100, 200, 300] {
        assert_eq!(found(&mut table, now, &[]).len(), 0);
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn what_a_snapshot_could_not_show_is_not_gone() {
    let mut table = SocketTable::default();
    apply(&mut table, &life()[..5]);
    for now in [100, 200, 300] {
        table.snapshot_begins(now);
        table.snapshot_ends(false, &mut Vec::new());
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn whoever_closed_first_is_charged_with_the_port() {
    let mut table = SocketTable::default();
    apply(&mut table, &life());
    let waits: Vec<_> = table.time_waits().collect();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].owner.as_ref().unwrap().pid, PROCESS);
    assert_eq!((waits[0].socket.lport, waits[0].socket.rport), (40_000, 80));
    table.passes(80 + 60_000_000_000);
    assert_eq!(table.time_waits().count(), 0);
}

#[test]
fn ports_are_remembered_for_who_asks_for_them_only() {
    let mut table = SocketTable {
        keeps_time_waits: false,
        ..SocketTable::default()
    };
    apply(&mut table, &life());
    assert_eq!(table.time_waits().count(), 0);
}

#[test]
fn a_full_table_takes_no_more_and_forgets_nobody() {
    let mut table = SocketTable::new(1);
    apply(&mut table, &life()[..5]);
    let Event::Socket(mut another) = socket(100) else {
        unreachable!()
    };
    another.socket.id = 99;
    let told = apply(&mut table, &[Event::Socket(another)]);
    // It is told all the same, with its owner.
    assert_eq!(told[0].socket.owner.as_ref().unwrap().pid, PROCESS);
    assert_eq!((table.len(), table.untracked()), (1, 1));
    assert!(table.get(CLIENT).is_some());
    apply(&mut table, &[destroy(200, CLIENT), Event::Socket(another)]);
    assert!(table.get(99).is_some());
}

#[test]
fn a_socket_without_an_identity_is_told_and_not_kept() {
    use TcpState::{Close, Established, Listen, SynRecv, SynSent};
    let mut table = SocketTable::default();
    let Event::Socket(mut event) = socket(10) else {
        unreachable!()
    };
    event.socket.id = 0;
    let changes = apply(&mut table, &[Event::Socket(event)]);
    assert_eq!(changes[0].socket.cookie, None);
    assert_eq!(changes[0].socket.owner.as_ref().unwrap().pid, PROCESS);
    assert!(table.is_empty());
    // It may get one yet: not so where a change of state has none, which asks for it.
    assert_eq!(table.untracked(), 0);
    for (now, old, new) in [
        (20, Close, SynSent),
        (21, SynSent, Established),
        (30, Listen, SynRecv),
        (31, SynRecv, Established),
    ] {
        let nameless = state(now, PROCESS, info(0, 80, 90), old, new);
        // Nobody could say whose it is.
        assert!(apply(&mut table, &[Event::State(nameless)]).is_empty());
    }
    assert!(table.is_empty());
    assert_eq!(table.untracked(), 2);
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

#[test]
fn what_a_former_program_opened_has_no_place_in_the_new_one() {
    let mut table = SocketTable::default();
    let born = |fd: i32, id: u64| {
        Event::Socket(SocketEvent {
            header: Header {
                stack: 0x1234,
                ..header(EventKind::Socket, 20, PROCESS)
            },
            socket: info(id, 0, 0),
            fd,
            socket_type: 1,
        })
    };
    apply(&mut table, &[process(10, PROCESS), born(3, CLIENT)]);
    let place = |table: &SocketTable, id| table.get(id).unwrap().opened().place();
    assert_eq!(place(&table, CLIENT), Place::Stack(0x1234));
    let mut open = [0; DESCRIPTOR_WORDS];
    open[0] = 1 << 3;
    let exec = Event::Exec(ExecEvent {
        header: header(EventKind::Exec, 30, PROCESS),
        comm: *b"another\0\0\0\0\0\0\0\0\0",
        open,
    });
    apply(&mut table, &[exec, born(4, CLIENT + 1)]);
    assert_eq!(place(&table, CLIENT), Place::FormerProgram);
    assert_eq!(place(&table, CLIENT + 1), Place::Stack(0x1234));
}

#[test]
fn a_life_that_is_told_late_takes_no_descriptor_from_who_has_it_by_now() {
    let mut table = SocketTable::default();
    let other = SocketInfo {
        id: 99,
        ..udp(TcpState::Close, 0, 0)
    };
    apply(&mut table, &[socket_of(70, other)]);
    let held = |table: &SocketTable| table.get(99).unwrap().holders().collect::<Vec<_>>();
    assert_eq!(held(&table), [(PROCESS, 3)]);
    for event in &life()[1..] {
        table.apply_late(event, &mut Vec::new());
    }
    assert_eq!(held(&table), [(PROCESS, 3)]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_life_that_is_told_late_is_of_the_process_that_had_the_number_then() {
    let mut table = SocketTable {
        keeps_exited: true,
        ..SocketTable::default()
    };
    let exit = Event::Exit(header(EventKind::Exit, 95, PROCESS));
    let another = |now, start_ns| {
        Event::Process(ProcessEvent {
            header: header(EventKind::Process, now, PROCESS),
            comm: *b"another\0\0\0\0\0\0\0\0\0",
            start_ns,
        })
    };
    apply(&mut table, &[another(5, 1), exit, another(96, 2)]);
    let mut changes = Vec::new();
    table.apply_late(&socket(10), &mut changes);
    let owner = changes[0].socket.owner.as_ref().unwrap();
    assert_eq!(owner.start_ns, Some(1));
    assert_eq!(table.get(CLIENT).unwrap().holders().count(), 0);
}
