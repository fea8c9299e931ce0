//! What there is besides sockets for whoever looks for leaks: limits, and local ports. It is asked in
//! the thread that takes snapshots, in the namespaces that are open there anyway.

use std::{io, time::Duration};

use hashbrown::HashMap;

use super::port_rows::{PortReport, PortRows};
use crate::{
    clock::cpu_time,
    detect::Filled,
    ports::{Seen, Settings, Socket},
    probe::offsets::KernelTypes,
    source::{
        machine::{Machine, Tables, descriptors},
        snapshot::{Buffer, Namespaces, Population, look_at_ports_here},
    },
};

/// What was found.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) machine: Machine,
    /// How many descriptors processes have, by pid.
    pub(super) descriptors: Vec<(u32, Filled)>,
    pub(super) places: Vec<Place>,
    pub(super) ports: PortReport,
    /// CPU time of the thread that entered namespaces for it.
    pub(super) took: Duration,
}

/// What a namespace has for itself.
pub(super) struct Place {
    pub(super) netns: u32,
    pub(super) tables: Tables,
    pub(super) population: Option<Population>,
    /// Its settings of ports.
    pub(super) settings: Option<Settings>,
}

/// Finds it.
pub(super) struct Surveyor {
    /// Only these namespaces, or all.
    netns: Vec<u32>,
    rows: PortRows,
    buffer: Buffer,
    /// How many sockets each namespace had at last.
    before: HashMap<u32, usize>,
}

impl Surveyor {
    pub(super) fn new(types: &KernelTypes, netns: Vec<u32>) -> Self {
        Self {
            netns,
            rows: PortRows::new::<io::Error>(Ok(types)),
            buffer: Buffer::default(),
            before: HashMap::new(),
        }
    }

    /// `holders`: who has an inode. `whole`: no process hides what it holds.
    pub(super) fn survey(
        &mut self,
        namespaces: &mut Namespaces,
        holders: &HashMap<u32, u32>,
        whole: bool,
    ) -> Survey {
        let (netns, rows, buffer) = (&self.netns, &mut self.rows, &mut self.buffer);
        let before = std::mem::take(&mut self.before);
        let buckets = &mut rows.buckets;
        let mut took = Duration::ZERO;
        let read = namespaces.each_inside(
            |inum| netns.is_empty() || netns.contains(&inum),
            |namespace| {
                let began = cpu_time();
                let population = namespace.population().ok();
                let room = before
                    .get(&namespace.inum())
                    .map_or(0, |&count| with_slack(count));
                let buckets = buckets.as_mut();
                let ports = look_at_ports_here(namespace, buckets, buffer, room, Socket::of);
                let tables = Tables::read();
                took += cpu_time().saturating_sub(began);
                (tables, population, ports)
            },
        );
        let (mut places, mut looks) = (Vec::new(), Vec::new());
        // What cannot be entered is told by `ports`.
        for (netns, read) in read.unwrap_or_default() {
            let Ok((tables, population, ports)) = read else {
                continue;
            };
            looks.push((netns, ports));
            places.push(Place {
                netns,
                tables,
                population,
                settings: None,
            });
        }
        let mut notes = self.rows.notes.clone();
        let seen: Vec<Seen> = self.rows.seen(looks, &mut notes);
        let holder = |inode| holders.get(&inode).copied();
        let ports = self.rows.rows(&seen, holder, whole).with(notes);
        for seen in seen {
            self.before.insert(seen.netns, seen.sockets.len());
            let place = places.iter_mut().find(|it| it.netns == seen.netns);
            if let Some(place) = place {
                place.settings = Some(seen.settings);
            }
        }
        Survey {
            machine: Machine::read(),
            descriptors: descriptors().unwrap_or_default(),
            places,
            ports,
            took,
        }
    }
}

/// Room for as many as there were, and some more.
pub(super) fn with_slack(before: usize) -> usize {
    before + before / 8
}
