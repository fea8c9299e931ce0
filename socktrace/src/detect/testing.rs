//! The vocabulary of the detectors' tests: groups, and time that goes by a minute at a look.

use std::sync::Arc;

use socktrace_common::socket::TcpState;

use super::{Detector, Filled, Group, Key, Listener, Member, Severity, What, World};
use crate::{
    change::Role,
    endpoint::Endpoint,
    process::{Comm, Process},
    source::snapshot::Protocol,
    table::Opened,
};

/// Nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn process(pid: u32) -> Arc<Process> {
    Arc::new(Process {
        comm: Some(Comm::from(&b"program"[..])),
        ..Process::new(pid)
    })
}

/// A socket that somebody holds, in this state since then.
pub(super) fn held(state: TcpState, since_ns: u64) -> Member {
    Member {
        cookie: 1,
        what: What::Held(state),
        born_ns: since_ns,
        since_ns,
        idle_since_ns: Some(since_ns),
        sent_ns: None,
        recv_queue: 0,
        send_queue: 0,
        complete: true,
        opened: Opened::default(),
    }
}

/// Sockets of one process to one destination.
pub(super) fn group(members: Vec<Member>) -> Group {
    Group {
        key: Key {
            netns: 1,
            pid: 100,
            proto: Protocol::Tcp,
            role: Role::Client,
            remote: Endpoint {
                address: Some([10, 0, 0, 1].into()),
                port: Some(5432),
            },
            lport: None,
        },
        owner: Some(process(100)),
        members,
        usual_ns: None,
    }
}

pub(super) fn world(second: u64, groups: Vec<Group>) -> World {
    World {
        now_ns: second * SECOND,
        groups,
        ..World::default()
    }
}

/// Looks once a minute; at which minutes how bad it was.
pub(super) fn severities(
    detector: &mut dyn Detector,
    minutes: u64,
    groups: impl Fn(u64) -> Vec<Group>,
) -> Vec<(u64, Severity)> {
    looks(detector, minutes, |second| world(second, groups(second)))
}

/// The same with a whole world.
pub(super) fn looks(
    detector: &mut dyn Detector,
    minutes: u64,
    world: impl Fn(u64) -> World,
) -> Vec<(u64, Severity)> {
    let mut told = Vec::new();
    for minute in 1..=minutes {
        let mut found = Vec::new();
        detector.look(&world(minute * 60), &mut found);
        told.extend(found.iter().map(|finding| (minute, finding.severity)));
    }
    told
}

/// A listener with so many waiting.
pub(super) fn listener(used: u64, limit: u64) -> Listener {
    Listener {
        cookie: 5,
        netns: 1,
        proto: Protocol::Tcp,
        local: Endpoint {
            address: Some([0, 0, 0, 0].into()),
            port: Some(80),
        },
        owner: Some(process(100)),
        holders: vec![process(100)],
        queue: Filled { used, limit },
        drops: Some(0),
        accepted: Some(0),
        acceptors: vec![100],
        left_behind: false,
        in_ephemeral_range: false,
    }
}
