//! Rows as the kernel writes them, and rows as it never would.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use socktrace_common::socket::TcpState;

use super::{
    super::{Detail, Found, Memory, Protocol, Protocols, Query, State, TimerKind, UnixName},
    Request, inet, other, request, unix,
};
use crate::endpoint::{Endpoint, Family};

const NETNS: u32 = 4_026_531_833;
const COOKIE: [u8; 8] = [0x21, 0x43, 0, 0, 1, 0, 0, 0];

/// `struct inet_diag_msg`, filled as on a little endian machine.
struct InetRow {
    family: u8,
    state: u8,
    timer: u8,
    lport: u16,
    rport: u16,
    laddr: [u8; 16],
    raddr: [u8; 16],
    inode: u32,
    attributes: Vec<u8>,
}

impl Default for InetRow {
    fn default() -> Self {
        Self {
            family: 2,
            state: 1,
            timer: 0,
            lport: 80,
            rport: 40_000,
            laddr: v4([127, 0, 0, 1]),
            raddr: v4([127, 0, 0, 2]),
            inode: 77,
            attributes: attribute(8, &[0]),
        }
    }
}

impl InetRow {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.family, self.state, self.timer, 3];
        bytes.extend(self.lport.to_be_bytes());
        bytes.extend(self.rport.to_be_bytes());
        bytes.extend(self.laddr);
        bytes.extend(self.raddr);
        bytes.extend([0; 4]);
        bytes.extend(COOKIE);
        for number in [1500, 10, 20, 1000, self.inode] {
            bytes.extend(u32::to_ne_bytes(number));
        }
        bytes.extend(&self.attributes);
        bytes
    }

    #[track_caller]
    fn found(&self) -> Found {
        inet::decode(&self.bytes(), NETNS, Protocol::Tcp).unwrap()
    }
}

fn v4(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint {
        address: Some(address.parse::<IpAddr>().unwrap()),
        port: Some(port),
    }
}

#[test]
fn a_connection_says_who_and_where_it_is() {
    let cgroup = attribute(21, &9_u64.to_ne_bytes());
    let found = InetRow {
        timer: 1,
        attributes: [attribute(8, &[2]), cgroup].concat(),
        ..InetRow::default()
    }
    .found();
    let expected = Found {
        uid: Some(1000),
        family: Some(Family::Ipv4),
        state: State::Tcp(TcpState::Established),
        local: endpoint("127.0.0.1", 80),
        remote: endpoint("127.0.0.2", 40_000),
        timer: found.timer,
        recv_queue: 10,
        send_queue: 20,
        shutdown: Some(2),
        cgroup: Some(9),
        ..Found::new(Protocol::Tcp, NETNS, 0x1_0000_4321, 77)
    };
    assert_eq!(found, expected);
    let timer = found.timer.unwrap();
    assert_eq!(
        (timer.kind, timer.expires_ms, timer.retransmits),
        (TimerKind::Retransmit, 1500, 3)
    );
}

#[test]
fn a_mapped_address_is_an_ipv4_address() {
    let mapped: Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
    let row = InetRow {
        family: 10,
        laddr: mapped.octets(),
        raddr: mapped.octets(),
        ..InetRow::default()
    };
    let found = row.found();
    assert_eq!(found.family, Some(Family::Ipv4));
    assert_eq!(found.local, endpoint("10.0.0.1", 80));

    let listener = InetRow {
        family: 10,
        state: 10,
        laddr: [0; 16],
        raddr: [0; 16],
        rport: 0,
        attributes: [attribute(8, &[0]), attribute(11, &[1])].concat(),
        ..InetRow::default()
    };
    let found = listener.found();
    assert_eq!(found.family, Some(Family::Ipv6));
    assert_eq!(found.local, endpoint("::", 80));
    assert_eq!(found.remote, Endpoint::default());
    assert!(found.only_ipv6);
}

#[test]
fn a_row_without_attributes_is_no_full_socket() {
    let bare = |state, timer| {
        InetRow {
            state,
            timer,
            inode: 0,
            attributes: Vec::new(),
            ..InetRow::default()
        }
        .found()
    };
    let request = bare(3, 1);
    assert_eq!((request.state, request.uid), (State::Request, None));
    assert_eq!(request.counted(), 0);
    let minisock = bare(5, 3);
    assert_eq!(minisock.state, State::Tcp(TcpState::FinWait2));
    assert_eq!((minisock.is_minisock(), minisock.counted()), (true, 0));
    assert_eq!(minisock.timer.unwrap().expires_ms, 1500);
    // TCP Fast Open: accepted before its handshake is over.
    let early = InetRow {
        state: 3,
        ..InetRow::default()
    };
    assert_eq!(early.found().state, State::Tcp(TcpState::SynRecv));
}

#[test]
fn bound_and_nothing_else_is_a_state_of_tcp() {
    for state in [7, 13] {
        let row = InetRow {
            state,
            ..InetRow::default()
        };
        assert_eq!(row.found().state, State::BoundInactive);
    }
    let udp = InetRow {
        state: 7,
        ..InetRow::default()
    };
    let found = inet::decode(&udp.bytes(), NETNS, Protocol::Udp).unwrap();
    assert_eq!(found.state, State::Tcp(TcpState::Close));
}

#[test]
fn structs_of_older_kernels_are_shorter() {
    let mut info = vec![0; 144];
    info[44..48].copy_from_slice(&5000_u32.to_ne_bytes());
    info[120..128].copy_from_slice(&7_u64.to_ne_bytes());
    let memory: Vec<u8> = (1_u32..9).flat_map(u32::to_ne_bytes).collect();
    let row = InetRow {
        attributes: [
            attribute(2, &info),
            attribute(7, &memory),
            attribute(8, &[0]),
        ]
        .concat(),
        ..InetRow::default()
    };
    let found = row.found();
    let tcp = found.tcp.unwrap();
    assert_eq!(
        (tcp.last_data_sent_ms, tcp.bytes_acked, tcp.min_rtt_us),
        (5000, 7, 0)
    );
    let expected = Memory {
        rmem: 1,
        rcvbuf: 2,
        wmem: 6,
        sndbuf: 4,
        drops: 0,
    };
    assert_eq!(found.memory, Some(expected));
}

#[test]
fn a_raw_sockets_port_is_its_protocol() {
    let row = InetRow {
        lport: 1,
        rport: 0,
        ..InetRow::default()
    };
    let found = inet::decode(&row.bytes(), NETNS, Protocol::Raw).unwrap();
    assert_eq!(found.detail, Detail::Raw(1));
    assert_eq!(found.local.port, None);
}

fn unix_row(attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 10, 0];
    bytes.extend(77_u32.to_ne_bytes());
    bytes.extend(COOKIE);
    bytes.extend(attributes);
    bytes
}

#[test]
fn a_unix_socket_has_a_name_and_a_peer() {
    let with = |attributes: &[u8]| {
        let found = unix::decode(&unix_row(attributes), NETNS).unwrap();
        let Detail::Unix(unix) = found.detail.clone() else {
            panic!("{found:?}");
        };
        (found, unix)
    };
    let queue: Vec<u8> = [2_u32, 128]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let all = [
        attribute(0, b"/run/\xff.sock\0"),
        attribute(2, &5_u32.to_ne_bytes()),
        attribute(3, &[0; 8]),
        attribute(4, &queue),
        attribute(6, &[3]),
        attribute(7, &33_u32.to_ne_bytes()),
    ]
    .concat();
    let (found, unix) = with(&all);
    assert_eq!(found.cookie, 0x1_0000_4321);
    assert_eq!(found.state, State::Tcp(TcpState::Listen));
    assert_eq!((found.recv_queue, found.send_queue), (2, 128));
    assert_eq!((found.shutdown, found.uid), (Some(3), Some(33)));
    let path = UnixName::Path(b"/run/\xff.sock"[..].into());
    assert_eq!(
        (unix.name, unix.peer, unix.waiting),
        (Some(path), Some(5), 2)
    );
    let (_, unix) = with(&attribute(0, b"\0a\0b"));
    assert_eq!(unix.name, Some(UnixName::Abstract(b"a\0b"[..].into())));
    let (_, unix) = with(&[]);
    assert_eq!((unix.name, unix.peer), (None, None));
}

#[test]
fn packet_and_netlink_sockets_say_what_they_listen_to() {
    let mut row = vec![17, 3, 3, 0];
    row.extend(77_u32.to_ne_bytes());
    row.extend(COOKIE);
    row.extend(attribute(0, &4_u32.to_ne_bytes()));
    let found = other::packet(&row, NETNS).unwrap();
    let expected = Detail::Packet {
        protocol: 3,
        interface: 4,
    };
    assert_eq!((found.inode, found.detail), (77, expected));

    let mut row = vec![16, 2, 15, 1];
    for number in [1234_u32, 5, 0, 77] {
        row.extend(number.to_ne_bytes());
    }
    row.extend(COOKIE);
    let found = other::netlink(&row, NETNS).unwrap();
    let expected = Detail::Netlink {
        protocol: 15,
        port: 1234,
        peer: 5,
    };
    assert_eq!((found.cookie, found.inode), (0x1_0000_4321, 77));
    assert_eq!(
        (found.state, found.detail),
        (State::Tcp(TcpState::Established), expected)
    );
}

/// One request for each protocol, to read rows with.
fn readers() -> Vec<Request> {
    let protocols = Protocols::ALL.into_iter();
    protocols
        .flat_map(|protocol| request::requests(Query::all(protocol)))
        .collect()
}

#[test]
fn no_truncation_is_taken_for_a_row() {
    let info = attribute(2, &[0xff; 250]);
    let row = InetRow {
        attributes: [attribute(8, &[0]), info].concat(),
        ..InetRow::default()
    }
    .bytes();
    for length in 0..row.len() {
        let found = inet::decode(&row[..length], NETNS, Protocol::Tcp);
        // Where an attribute ends, the row could end too. The padding after one is no part of it.
        let whole = length == 72 || (77..=80).contains(&length) || length >= 80 + 254;
        assert_eq!(found.is_some(), whole, "{length}");
    }
}

proptest! {
    #[test]
    fn bytes_never_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for reader in readers() {
            drop(reader.decode(&bytes, NETNS));
        }
        prop_assert!(super::Parts::new(&bytes, 7).count() <= bytes.len());
    }

    #[test]
    fn damage_never_makes_it_panic(at in 0_usize..400, byte in any::<u8>()) {
        let row = InetRow {
            attributes: [attribute(8, &[0]), attribute(2, &[1; 250]), attribute(7, &[1; 36])].concat(),
            ..InetRow::default()
        };
        let unix = unix_row(&[attribute(0, b"/run/x\0"), attribute(3, &[1; 40])].concat());
        for mut bytes in [row.bytes(), unix] {
            let at = at % bytes.len();
            bytes[at] = byte;
            for reader in readers() {
                drop(reader.decode(&bytes, NETNS));
            }
        }
    }
}
