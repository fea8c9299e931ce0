//! What `ss` prints, and the same from a row of the snapshot.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use socktrace::{
    endpoint::Endpoint,
    source::snapshot::{Detail, Found, Protocol, State, UnixName},
};
use socktrace_common::socket::TcpState;

/// A line as `ss -tuxanpe` prints it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    netid: String,
    pub(crate) state: String,
    queues: (u32, u32),
    local: String,
    remote: String,
    pub(crate) inode: u32,
    cookie: Option<u64>,
    pub(crate) holders: BTreeSet<(u32, u32)>,
}

impl Line {
    /// From a line of `ss -H -tuxanpe`.
    pub(crate) fn of_ss(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
        let unix = words[0].starts_with("u_");
        // For Unix sockets ss takes the inode for a port, and has no cookie.
        let (local, remote) = if unix {
            (words[4].to_owned(), words[7].to_owned())
        } else {
            (tuple(words[4]), tuple(words[5]))
        };
        let inode = if unix {
            words[5]
        } else {
            value("ino:").unwrap()
        };
        Self {
            netid: words[0].to_owned(),
            state: words[1].to_owned(),
            queues: (words[2].parse().unwrap(), words[3].parse().unwrap()),
            local,
            remote,
            inode: inode.parse().unwrap(),
            cookie: value("sk:").map(|it| u64::from_str_radix(it, 16).unwrap()),
            holders: value("users:").map(users).unwrap_or_default(),
        }
    }

    /// From a row, and those who hold its inode.
    pub(crate) fn of_found(found: &Found, holders: BTreeSet<(u32, u32)>) -> Self {
        let (local, remote) = match &found.detail {
            Detail::Unix(unix) => (
                unix_name(unix.name.as_ref()),
                unix.peer.unwrap_or(0).to_string(),
            ),
            _ => (endpoint(found.local), endpoint(found.remote)),
        };
        let unix = found.protocol == Protocol::Unix;
        Self {
            netid: match (found.protocol, found.socket_type) {
                (Protocol::Tcp, _) => "tcp",
                (Protocol::Udp, _) => "udp",
                (_, Some(1)) => "u_str",
                (_, Some(2)) => "u_dgr",
                (_, Some(5)) => "u_seq",
                other => panic!("{other:?}"),
            }
            .to_owned(),
            state: match found.state {
                State::Request => "SYN-RECV".to_owned(),
                State::BoundInactive => "BOUND".to_owned(),
                State::Tcp(TcpState::Close) => "UNCONN".to_owned(),
                State::Tcp(TcpState::Established) => "ESTAB".to_owned(),
                State::Tcp(TcpState::FinWait1) => "FIN-WAIT-1".to_owned(),
                State::Tcp(TcpState::FinWait2) => "FIN-WAIT-2".to_owned(),
                state @ (State::Tcp(_) | State::Pipe(_)) => {
                    state.word().to_uppercase().replace('_', "-")
                }
            },
            queues: (found.recv_queue, found.send_queue),
            local,
            remote,
            inode: found.inode,
            cookie: (!unix).then_some(found.cookie),
            holders,
        }
    }
}

/// `users:(("python3",pid=7,fd=3),("python3",pid=8,fd=3))`.
pub(crate) fn users(text: &str) -> BTreeSet<(u32, u32)> {
    let after = |part: &str, key: &str| -> u32 {
        let (_, rest) = part.split_once(key).unwrap();
        let end = rest.find(|it: char| !it.is_ascii_digit());
        let end = end.unwrap_or(rest.len());
        rest[..end].parse().unwrap()
    };
    text.split("),(")
        .map(|part| (after(part, "pid="), after(part, "fd=")))
        .collect()
}

/// An address and port of `ss`, as one text for what it means.
fn tuple(text: &str) -> String {
    endpoint(parse(text))
}

/// An address and port of `ss`.
pub(crate) fn parse(text: &str) -> Endpoint {
    let (address, port) = text.rsplit_once(':').unwrap();
    let address = address.trim_matches(['[', ']']);
    let address = match address {
        "*" => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        address => address.parse::<IpAddr>().unwrap(),
    };
    let port = port.parse().ok();
    Endpoint {
        address: Some(address.to_canonical()).filter(|it| port.is_some() || !it.is_unspecified()),
        port,
    }
}

fn endpoint(endpoint: Endpoint) -> String {
    format!("{:?} {:?}", endpoint.address, endpoint.port)
}

/// As `ss` shows it: `@` for the NUL that makes a name abstract, and for those in it.
fn unix_name(name: Option<&UnixName>) -> String {
    match name {
        None => "*".to_owned(),
        Some(UnixName::Path(path)) => String::from_utf8_lossy(path).into_owned(),
        Some(UnixName::Abstract(name)) => {
            format!("@{}", String::from_utf8_lossy(name).replace('\0', "@"))
        }
    }
}
