//! What detectors look at: how things are at one moment. Whoever fills it in does the asking, so
//! that every finding is a matter of this and of what was seen before.

use std::sync::Arc;

use socktrace_common::socket::TcpState;

use crate::{
    change::Role,
    endpoint::Endpoint,
    ports::Row as PortRow,
    process::Process,
    source::{machine::Filled, snapshot::Protocol},
    table::Opened,
};

/// How things are. Times are of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Now.
    pub now_ns: u64,
    /// Sockets by whom they belong to and where they go.
    pub groups: Vec<Group>,
    /// TCP and Unix listeners.
    pub listeners: Vec<Listener>,
    /// Anonymous pipes, by process.
    pub pipes: Vec<Pipes>,
    /// Descriptors in messages that nobody has received, by namespace.
    pub in_flight: Vec<InFlight>,
    /// Local ports, by destination.
    pub ports: Vec<PortRow>,
    /// How many descriptors processes have.
    pub descriptors: Vec<Descriptors>,
    /// `fs.file-nr`: open files of the machine, and how many there may be.
    pub files: Option<Filled>,
    /// TCP orphans of the machine, and `net.ipv4.tcp_max_orphans`.
    pub orphans: Option<Filled>,
    /// Tracked connections, by namespace: `nf_conntrack_count` and `nf_conntrack_max`.
    pub conntrack: Vec<(u32, Filled)>,
    /// Timewait minisocks, by namespace, and `net.ipv4.tcp_max_tw_buckets`.
    pub tw_buckets: Vec<(u32, Filled)>,
    /// Ports that connections keep after their end, by who closed first and where they went.
    pub time_waits: Vec<TimeWaited>,
}

impl World {
    /// The process with this number, if anything here is its.
    pub(super) fn process(&self, pid: Option<u32>) -> Option<Arc<Process>> {
        let pid = pid?;
        let owners = self.groups.iter().filter_map(|group| group.owner.as_ref());
        owners
            .chain(self.descriptors.iter().map(|it| &it.process))
            .find(|it| it.pid == pid)
            .cloned()
    }
}

/// Whom sockets belong to and where they go: what leaks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The owner's pid; 0 where nobody owns them.
    pub pid: u32,
    /// The protocol.
    pub proto: Protocol,
    /// Their part in the connection.
    pub role: Role,
    /// Where they go, for those that connected.
    pub remote: Endpoint,
    /// Where they came in, for those that were accepted.
    pub lport: Option<u16>,
}

impl Key {
    /// What a socket with these two ends counts among. Who did not accept it is taken for a client:
    /// of a connection that was open first nobody says that it connected.
    pub fn new(
        netns: u32,
        pid: u32,
        proto: Protocol,
        role: Role,
        (local, remote): (Endpoint, Endpoint),
    ) -> Self {
        let served = matches!(role, Role::Server | Role::Listener);
        Self {
            netns,
            pid,
            proto,
            role: if served { Role::Server } else { Role::Client },
            remote: if served { Endpoint::default() } else { remote },
            lport: local.port.filter(|_| served),
        }
    }
}

/// The sockets of one key.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub key: Key,
    /// Who owns them.
    pub owner: Option<Arc<Process>>,
    /// The sockets.
    pub members: Vec<Member>,
    /// Of those that ended within the last two hours: how long they lived, the 99th percentile in
    /// nanoseconds. `None` where fewer than 50 did.
    pub usual_ns: Option<u64>,
}

/// A socket of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its cookie.
    pub cookie: u64,
    /// What it is.
    pub what: What,
    /// It was there at this time, and maybe before.
    pub born_ns: u64,
    /// It has been so since this time, and maybe longer.
    pub since_ns: u64,
    /// Nothing was sent or received since this time, where that is known.
    pub idle_since_ns: Option<u64>,
    /// The process sent something after the peer closed, at this time.
    pub sent_ns: Option<u64>,
    /// Bytes that nobody has read; 1 for a FIN that nobody has read.
    pub recv_queue: u32,
    /// Bytes that the peer has not acknowledged.
    pub send_queue: u32,
    /// Nothing was lost that could concern it.
    pub complete: bool,
    /// Where it was opened, if somebody asked for stacks.
    pub opened: Opened,
}

/// What a socket is, as far as leaks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A TCP socket in this state that somebody holds.
    Held(TcpState),
    /// TCP: nobody has accepted it yet.
    Unaccepted,
    /// TCP: nobody holds it any more, and it has not ended.
    Orphan(TcpState),
    /// TCP: never connected.
    Idle,
    /// TCP: the connection is over, the descriptor is open.
    Dead,
    /// UDP, bound or not.
    Datagram,
    /// Unix, connected to a peer.
    Unix,
    /// Unix, connected once; the peer is gone.
    HalfDead,
}

/// A socket that others connect to.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its cookie.
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// TCP, MPTCP or Unix.
    pub proto: Protocol,
    /// Where it listens.
    pub local: Endpoint,
    /// Who called `listen()`, or took it over.
    pub owner: Option<Arc<Process>>,
    /// Every process that holds it.
    pub holders: Vec<Arc<Process>>,
    /// Connections that wait to be accepted, and how many may.
    pub queue: Filled,
    /// Connections that were dropped because the queue was full, since it listens.
    pub drops: Option<u64>,
    /// Connections that were accepted from it, since we look; `None` where calls are not followed.
    pub accepted: Option<u64>,
    /// The same by each holder's pid.
    pub acceptors: Vec<u32>,
    /// Every holder is of a group of processes whose leader is gone, where somebody waits and none of
    /// them accepts; who does well is not asked.
    pub left_behind: bool,
    /// Its port may be chosen for outgoing connections.
    pub in_ephemeral_range: bool,
}

/// Pipes that one process holds.
#[derive(Clone, Debug)]
pub struct Pipes {
    /// The process.
    pub holder: Arc<Process>,
    /// Pipes without anybody who reads or writes: when each was first seen so.
    pub one_ended_since_ns: Vec<u64>,
}

/// Descriptors under way.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The process whose queue they are in, where one is known.
    pub receiver: Option<Arc<Process>>,
    /// When each was first seen there.
    pub since_ns: Vec<u64>,
}

/// How many descriptors a process has, and may have.
#[derive(Clone, Debug)]
pub struct Descriptors {
    /// The process.
    pub process: Arc<Process>,
    /// Open ones, and its soft `RLIMIT_NOFILE`.
    pub filled: Filled,
    /// In how many seconds there will be no more, if it goes on: [`FdTrends`](super::FdTrends).
    pub eta_seconds: Option<f64>,
}

/// Ports that connections of one process to one destination keep after their end.
#[derive(Clone, Debug)]
pub struct TimeWaited {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Who closed first.
    pub process: Option<Arc<Process>>,
    /// Where they went.
    pub remote: Endpoint,
    /// How many ports, of those that could be chosen.
    pub filled: Filled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_known_to_have_connected_counts_among_clients() {
        let end = |port| Endpoint {
            address: Some([10, 0, 0, 1].into()),
            port: Some(port),
        };
        let key = |role| Key::new(1, 2, Protocol::Tcp, role, (end(40000), end(5432)));
        assert_eq!(key(Role::Unknown), key(Role::Client));
        assert_eq!(key(Role::Client).remote, end(5432));
        let served = key(Role::Server);
        assert_eq!(
            (served.remote, served.lport),
            (Endpoint::default(), Some(40000))
        );
    }
}
