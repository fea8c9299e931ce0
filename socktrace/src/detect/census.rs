//! Sightings put together: by whom they belong to and where they go.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Filled, Group, InFlight, Key, Lifetimes, Listener, Member, Pipes, SeenAs, Sighting, What, World,
};
use crate::{change::Role, process::Process, source::snapshot::Protocol, table::SocketTable};

/// Puts snapshots together, and remembers since when things are so that nobody announces.
#[derive(Debug, Default)]
pub struct Census {
    /// Since when a pipe has one end, a descriptor is in flight, a Unix socket is half dead, a socket
    /// that the table does not know is there; by inode and identity.
    since: HashMap<(u32, u64), u64>,
}

/// How many sockets of a process have a port: namespace, pid, protocol, port. What several share is
/// the port that was connected to.
type Shared = HashMap<(u32, u32, Protocol, u16), usize>;

impl Census {
    /// How things are at `now`, as far as a snapshot tells; the rest of the world is empty.
    /// `accepts`: the table has been told who accepts, on every socket but Unix ones. `who`: the
    /// process with a number.
    pub fn take(
        &mut self,
        now: u64,
        sightings: &[Sighting],
        table: &SocketTable,
        lifetimes: &Lifetimes,
        accepts: bool,
        mut who: impl FnMut(u32) -> Arc<Process>,
    ) -> World {
        let mut before = std::mem::take(&mut self.since);
        let mut since = |sighting: &Sighting| {
            let key = (sighting.inode, sighting.id);
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
                    let unknown = what == What::HalfDead || table.get(sighting.id).is_none();
                    let first_seen = unknown.then(|| since(sighting));
                    let owner = owner(sighting, table, &mut who);
                    let key = key(sighting, owner.as_deref(), &shared, table);
                    let group = groups.entry(key).or_insert_with(|| Group {
                        key,
                        owner,
                        members: Vec::new(),
                        usual_ns: lifetimes.usual_ns(&key, now),
                    });
                    let mut member = member(sighting, what, table);
                    if let Some(first_seen) = first_seen {
                        member.since_ns = first_seen.min(member.since_ns);
                        member.born_ns = first_seen.min(member.born_ns);
                    }
                    group.members.push(member);
                }
                SeenAs::Listener => {
                    let listener = listener(sighting, table, accepts, &mut who);
                    world.listeners.push(listener);
                }
                SeenAs::InFlight => {
                    let queue = in_flight.entry(sighting.netns).or_insert_with(|| InFlight {
                        netns: sighting.netns,
                        receiver: sighting.receiver.map(&mut who),
                        since_ns: Vec::new(),
                    });
                    queue.since_ns.push(since(sighting));
                }
                SeenAs::OneEnded => {
                    let at = since(sighting);
                    for pid in &sighting.holders {
                        let pipes = pipes.entry(*pid).or_insert_with(|| Pipes {
                            holder: who(*pid),
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
fn owner(
    sighting: &Sighting,
    table: &SocketTable,
    who: &mut impl FnMut(u32) -> Arc<Process>,
) -> Option<Arc<Process>> {
    let told = table.get(sighting.id).and_then(|entry| entry.owner());
    told.or_else(|| sighting.holders.first().map(|pid| who(*pid)))
}

fn shared(sightings: &[Sighting]) -> Shared {
    let mut shared = Shared::new();
    for sighting in sightings {
        if let Some(place) = place(sighting) {
            *shared.entry(place).or_default() += 1;
        }
    }
    shared
}

fn place(sighting: &Sighting) -> Option<(u32, u32, Protocol, u16)> {
    let pid = sighting.holders.first().copied().unwrap_or_default();
    Some((sighting.netns, pid, sighting.proto, sighting.local.port?))
}

fn key(sighting: &Sighting, owner: Option<&Process>, shared: &Shared, table: &SocketTable) -> Key {
    let several = place(sighting)
        .and_then(|place| shared.get(&place))
        .is_some_and(|count| *count > 1);
    // Who was seen to connect is a client, whatever port the kernel chose for it.
    let seen = table.get(sighting.id).map(|entry| entry.role());
    // That several share a port says which side they are; its size says nothing.
    let role = match sighting.role {
        Role::Unknown if seen == Some(Role::Client) => Role::Client,
        Role::Unknown if several => Role::Server,
        role => role,
    };
    let pid = owner.map_or(0, |owner| owner.pid);
    let ends = (sighting.local, sighting.remote);
    Key::new(sighting.netns, pid, sighting.proto, role, ends)
}

fn member(sighting: &Sighting, what: What, table: &SocketTable) -> Member {
    let entry = table.get(sighting.id);
    let now_ns = sighting.since_ns.max(sighting.born_ns);
    let times = entry.map(|entry| (entry.born_ns(), entry.state_since_ns()));
    let (born_ns, since_ns) = times.unwrap_or_default();
    Member {
        cookie: sighting.id,
        what,
        born_ns: born_ns.unwrap_or(sighting.born_ns).min(now_ns),
        since_ns: since_ns.unwrap_or(sighting.since_ns),
        idle_since_ns: sighting.idle_since_ns,
        sent_ns: sighting.sent_ns,
        recv_queue: sighting.recv_queue,
        send_queue: sighting.send_queue,
        complete: entry.is_none_or(|entry| entry.is_complete()),
        opened: entry.map(|entry| entry.opened()).unwrap_or_default(),
    }
}

fn listener(
    sighting: &Sighting,
    table: &SocketTable,
    accepts: bool,
    who: &mut impl FnMut(u32) -> Arc<Process>,
) -> Listener {
    let told = accepts && sighting.proto != Protocol::Unix;
    let accepts = table.accepts(sighting.id);
    Listener {
        cookie: sighting.id,
        netns: sighting.netns,
        proto: sighting.proto,
        local: sighting.local,
        owner: owner(sighting, table, who),
        holders: sighting.holders.iter().map(|pid| who(*pid)).collect(),
        queue: Filled {
            used: u64::from(sighting.recv_queue),
            limit: u64::from(sighting.send_queue),
        },
        drops: sighting.drops.map(u64::from),
        accepted: told.then(|| accepts.map_or(0, |accepts| accepts.count)),
        acceptors: accepts.map_or_else(Vec::new, |accepts| accepts.pids.to_vec()),
        left_behind: false,
        in_ephemeral_range: false,
    }
}
