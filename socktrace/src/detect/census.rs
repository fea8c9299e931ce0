//! Sightings put together: by whom they belong to and where they go.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Filled, Group, InFlight, Key, Lifetimes, Listener, Member, Pipes, SeenAs, Sighting, What, World,
};
use crate::{change::Role, endpoint::Endpoint, process::Process, table::SocketTable};

/// Puts snapshots together, and remembers since when things are so that nobody announces.
#[derive(Debug, Default)]
pub struct Census {
    /// Since when a pipe has one end, a descriptor is in flight, a Unix socket is half dead; by
    /// inode and cookie.
    since: HashMap<(u32, u64), u64>,
}

/// A port that several sockets share is the one that was connected to.
type Shared = HashMap<(u32, u32, Option<u16>), usize>;

impl Census {
    /// How things are at `now`, as far as a snapshot tells; the rest of the world is empty.
    pub fn take(
        &mut self,
        now: u64,
        sightings: &[Sighting],
        table: &SocketTable,
        lifetimes: &Lifetimes,
    ) -> World {
        let mut before = std::mem::take(&mut self.since);
        let mut since = |sighting: &Sighting| {
            let key = (sighting.inode, sighting.cookie);
            let at = before.remove(&key).unwrap_or(now);
            self.since.insert(key, at);
            at
        };
        let mut world = World {
            now_ns: now,
            ..World::default()
        };
        let shared = shared(sightings);
        let mut groups: HashMap<Key, Group> = HashMap::new();
        let mut pipes: HashMap<u32, Pipes> = HashMap::new();
        let mut in_flight: HashMap<u32, InFlight> = HashMap::new();
        for sighting in sightings {
            match sighting.seen_as {
                SeenAs::Socket(what) => {
                    let half_dead = (what == What::HalfDead).then(|| since(sighting));
                    let owner = owner(sighting, table);
                    let key = key(sighting, owner.as_deref(), &shared);
                    let group = groups.entry(key).or_insert_with(|| Group {
                        key,
                        owner,
                        members: Vec::new(),
                        usual_ns: lifetimes.usual_ns(&key, now),
                    });
                    let mut member = member(sighting, what, table);
                    member.since_ns = half_dead.unwrap_or(member.since_ns);
                    group.members.push(member);
                }
                SeenAs::Listener => world.listeners.push(listener(sighting, table)),
                SeenAs::InFlight => {
                    let queue = in_flight.entry(sighting.netns).or_insert_with(|| InFlight {
                        netns: sighting.netns,
                        receiver: None,
                        since_ns: Vec::new(),
                    });
                    queue.since_ns.push(since(sighting));
                }
                SeenAs::OneEnded => {
                    let at = since(sighting);
                    for holder in sighting
                        .holders
                        .iter()
                        .filter_map(|pid| table.process(*pid))
                    {
                        let pipes = pipes.entry(holder.pid).or_insert_with(|| Pipes {
                            holder,
                            one_ended_since_ns: Vec::new(),
                        });
                        pipes.one_ended_since_ns.push(at);
                    }
                }
            }
        }
        world.groups = groups.into_values().collect();
        world.pipes = pipes.into_values().collect();
        world.in_flight = in_flight.into_values().collect();
        world
    }
}

/// Who is taken to own it: who was seen to open it, else who holds it.
fn owner(sighting: &Sighting, table: &SocketTable) -> Option<Arc<Process>> {
    let told = table.get(sighting.cookie).and_then(|entry| entry.owner());
    told.or_else(|| sighting.holders.first().and_then(|pid| table.process(*pid)))
}

fn shared(sightings: &[Sighting]) -> Shared {
    let mut shared = Shared::new();
    for sighting in sightings {
        let pid = sighting.holders.first().copied().unwrap_or_default();
        *shared
            .entry((sighting.netns, pid, sighting.local.port))
            .or_default() += 1;
    }
    shared
}

fn key(sighting: &Sighting, owner: Option<&Process>, shared: &Shared) -> Key {
    let pid = sighting.holders.first().copied().unwrap_or_default();
    let port = sighting.local.port;
    let several = port.is_some()
        && shared
            .get(&(sighting.netns, pid, port))
            .is_some_and(|count| *count > 1);
    // That several share a port says which side they are; its size says nothing.
    let role = match sighting.role {
        Role::Unknown if several => Role::Server,
        role => role,
    };
    let served = matches!(role, Role::Server | Role::Listener);
    Key {
        netns: sighting.netns,
        pid: owner.map_or(0, |owner| owner.pid),
        proto: sighting.proto,
        role,
        remote: if served {
            Endpoint::default()
        } else {
            sighting.remote
        },
        lport: sighting.local.port.filter(|_| served),
    }
}

fn member(sighting: &Sighting, what: What, table: &SocketTable) -> Member {
    let entry = table.get(sighting.cookie);
    let now_ns = sighting.since_ns.max(sighting.born_ns);
    let times = entry.map(|entry| (entry.born_ns(), entry.state_since_ns()));
    let (born_ns, since_ns) = times.unwrap_or_default();
    Member {
        cookie: sighting.cookie,
        what,
        born_ns: born_ns.unwrap_or(sighting.born_ns).min(now_ns),
        since_ns: since_ns.unwrap_or(sighting.since_ns),
        idle_since_ns: sighting.idle_since_ns,
        sent_ns: sighting.sent_ns,
        recv_queue: sighting.recv_queue,
        send_queue: sighting.send_queue,
        complete: entry.is_none_or(|entry| entry.is_complete()),
    }
}

fn listener(sighting: &Sighting, table: &SocketTable) -> Listener {
    let accepts = table.accepts(sighting.cookie);
    Listener {
        cookie: sighting.cookie,
        netns: sighting.netns,
        proto: sighting.proto,
        local: sighting.local,
        owner: owner(sighting, table),
        holders: sighting
            .holders
            .iter()
            .filter_map(|pid| table.process(*pid))
            .collect(),
        queue: Filled {
            used: u64::from(sighting.recv_queue),
            limit: u64::from(sighting.send_queue),
        },
        drops: sighting.drops.map(u64::from),
        accepted: accepts.map(|accepts| accepts.count),
        acceptors: accepts.map_or_else(Vec::new, |accepts| accepts.pids.to_vec()),
        in_ephemeral_range: false,
    }
}
