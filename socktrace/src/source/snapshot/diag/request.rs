//! What is sent to the kernel, and who reads the answer.

use netlink_packet_core::{Emitable, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY,
    constants::{
        AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, INET_DIAG_INFO, INET_DIAG_SKMEMINFO, IPPROTO_RAW,
        IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
    },
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
    unix::{ShowFlags, StateFlags as UnixStateFlags, UnixRequest},
};
use socktrace_common::socket::PROTO_MPTCP;

use super::{
    super::{Found, Protocol, Protocols, Query},
    inet, other, unix,
};

/// `TCPDIAG_GETSOCK` (`include/uapi/linux/inet_diag.h`): the first form of the request, and the
/// only one that takes TCP over IPv4 and IPv6 in one pass. The pass over the table of all sockets
/// of the machine is what a selective dump costs.
const TCPDIAG_GETSOCK: u16 = 18;
/// `INET_DIAG_REQ_PROTOCOL` (5.9): for protocols whose number has more than 8 bits.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
/// `UDIAG_SHOW_UID` (5.3).
const UDIAG_SHOW_UID: u32 = 0x40;
/// `PACKET_SHOW_INFO` and `PACKET_SHOW_MEMINFO` (`include/uapi/linux/packet_diag.h`).
const PACKET_SHOW: u32 = 0x01 | 0x10;
/// `NDIAG_PROTO_ALL` and `NDIAG_SHOW_MEMINFO` (`include/uapi/linux/netlink_diag.h`).
const NETLINK_ALL: u8 = 0xff;
const NETLINK_SHOW: u32 = 0x01;

/// One request for a dump.
pub(super) struct Request {
    kind: u16,
    body: Vec<u8>,
    protocol: Protocol,
}

/// The requests that answer a query. One that the kernel does not know may follow one that it
/// does.
pub(super) fn requests(query: Query) -> Vec<Request> {
    let both = |number: u8, protocol| {
        [AF_INET, AF_INET6]
            .map(|family| inet_request(family, number, protocol, query))
            .into()
    };
    match query.protocol {
        Protocols::Tcp => vec![tcp(query)],
        Protocols::Tcp4 => vec![inet_request(AF_INET, IPPROTO_TCP, Protocol::Tcp, query)],
        Protocols::Tcp6 => vec![inet_request(AF_INET6, IPPROTO_TCP, Protocol::Tcp, query)],
        Protocols::Udp => both(IPPROTO_UDP, Protocol::Udp),
        Protocols::UdpLite => both(IPPROTO_UDPLITE, Protocol::UdpLite),
        Protocols::Mptcp => [AF_INET, AF_INET6].map(|it| mptcp(it, query)).into(),
        Protocols::Raw => both(IPPROTO_RAW, Protocol::Raw),
        Protocols::Unix => vec![unix_request(query)],
        Protocols::Packet => vec![show(AF_PACKET, 0, PACKET_SHOW, Protocol::Packet)],
        Protocols::Netlink => {
            let protocol = Protocol::Netlink;
            vec![show(AF_NETLINK, NETLINK_ALL, NETLINK_SHOW, protocol)]
        }
    }
}

impl Request {
    /// With the netlink header: `struct nlmsghdr`, 16 bytes.
    pub(super) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let length = 16 + self.body.len();
        let mut bytes = Vec::with_capacity(length);
        // At most a hundred bytes.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The kernel knows who asks.
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads a row of the answer.
    pub(super) fn decode(&self, row: &[u8], netns: u32) -> Option<Found> {
        match self.protocol {
            Protocol::Unix => unix::decode(row, netns),
            Protocol::Packet => other::packet(row, netns),
            Protocol::Netlink => other::netlink(row, netns),
            Protocol::Tcp | Protocol::Udp | Protocol::UdpLite | Protocol::Mptcp | Protocol::Raw => {
                inet::decode(row, netns, self.protocol)
            }
            // Nothing asks for them.
            Protocol::Other | Protocol::Pipe => None,
        }
    }
}

fn inet_request(family: u8, number: u8, protocol: Protocol, query: Query) -> Request {
    let request = InetRequest {
        family,
        protocol: number,
        extensions: ExtensionFlags::from_bits_retain(extensions(query)),
        states: StateFlags::from_bits_retain(query.states.bits()),
        // Ignored by dumps.
        socket_id: SocketId::new_v4(),
    };
    Request {
        kind: SOCK_DIAG_BY_FAMILY,
        body: emit(&request),
        protocol,
    }
}

/// `INET_DIAG_*` as bits, the first being 1.
fn extensions(query: Query) -> u8 {
    let bit = |wanted: bool, attribute: u16| u8::from(wanted) << (attribute - 1);
    bit(query.extras.tcp, INET_DIAG_INFO) | bit(query.extras.memory, INET_DIAG_SKMEMINFO)
}

/// `struct inet_diag_req`: family, lengths of addresses (both unused), extensions; what identifies
/// a socket, empty; states; the database's number, unused.
fn tcp(query: Query) -> Request {
    let mut body = vec![0; 4 + 48];
    body[3] = extensions(query);
    body.extend_from_slice(&query.states.bits().to_ne_bytes());
    body.extend_from_slice(&0_u32.to_ne_bytes());
    Request {
        kind: TCPDIAG_GETSOCK,
        body,
        protocol: Protocol::Tcp,
    }
}

/// The protocol's number is in an attribute, and what of it fits in its usual place.
fn mptcp(family: u8, query: Query) -> Request {
    let [low, _] = PROTO_MPTCP.to_le_bytes();
    let mut request = inet_request(family, low, Protocol::Mptcp, query);
    let length = 8_u16;
    request.body.extend_from_slice(&length.to_ne_bytes());
    request
        .body
        .extend_from_slice(&INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
    request
        .body
        .extend_from_slice(&u32::from(PROTO_MPTCP).to_ne_bytes());
    request
}

fn unix_request(query: Query) -> Request {
    let mut shown = ShowFlags::NAME | ShowFlags::PEER | ShowFlags::ICONS | ShowFlags::RQLEN;
    shown |= ShowFlags::from_bits_retain(UDIAG_SHOW_UID);
    shown.set(ShowFlags::MEMINFO, query.extras.memory);
    let request = UnixRequest {
        state_flags: UnixStateFlags::from_bits_retain(query.states.bits()),
        inode: 0,
        show_flags: shown,
        cookie: [0; 8],
    };
    Request {
        kind: SOCK_DIAG_BY_FAMILY,
        body: emit(&request),
        protocol: Protocol::Unix,
    }
}

/// `struct packet_diag_req` and `struct netlink_diag_req`, which are alike: family, protocol, a
/// gap of two bytes; an inode, ignored by dumps; what to show; a cookie, ignored by dumps.
fn show(family: u8, number: u8, shown: u32, protocol: Protocol) -> Request {
    let mut body = vec![family, number, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&shown.to_ne_bytes());
    body.extend_from_slice(&[0; 8]);
    Request {
        kind: SOCK_DIAG_BY_FAMILY,
        body,
        protocol,
    }
}

fn emit(request: &impl Emitable) -> Vec<u8> {
    let mut body = vec![0; request.buffer_len()];
    request.emit(&mut body);
    body
}

#[cfg(test)]
mod tests {
    use socktrace_common::socket::TcpState;

    use super::{
        super::super::{Extras, States},
        *,
    };

    #[test]
    fn requests_are_as_long_as_the_kernel_wants_them() {
        // Sizes of the structs in include/uapi/linux/{inet,unix,packet,netlink}_diag.h.
        for (protocol, lengths) in [
            (Protocols::Tcp, &[60][..]),
            (Protocols::Tcp4, &[56]),
            (Protocols::Tcp6, &[56]),
            (Protocols::Udp, &[56, 56]),
            (Protocols::UdpLite, &[56, 56]),
            (Protocols::Mptcp, &[64, 64]),
            (Protocols::Raw, &[56, 56]),
            (Protocols::Unix, &[24]),
            (Protocols::Packet, &[20]),
            (Protocols::Netlink, &[20]),
        ] {
            let requests = requests(Query::all(protocol));
            let found: Vec<_> = requests
                .iter()
                .map(|request| request.bytes(1).len() - 16)
                .collect();
            assert_eq!(found, lengths, "{protocol:?}");
        }
    }

    #[test]
    fn states_and_extras_are_where_the_kernel_looks_for_them() {
        let extras = Extras {
            tcp: true,
            memory: true,
        };
        let states = States::none().with(TcpState::CloseWait);
        let query = Query::tcp(states.and(States::BOUND_INACTIVE)).with(extras);
        let bits = (1_u32 << 8 | 1 << 13).to_ne_bytes();
        let bytes = requests(query)[0].bytes(1);
        assert_eq!((bytes[16 + 3], &bytes[16 + 52..16 + 56]), (0x42, &bits[..]));
        let query = Query {
            protocol: Protocols::Tcp6,
            ..query
        };
        let bytes = requests(query)[0].bytes(1);
        assert_eq!((bytes[16 + 2], &bytes[16 + 4..16 + 8]), (0x42, &bits[..]));
    }
}
