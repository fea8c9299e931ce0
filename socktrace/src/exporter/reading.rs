//! What there is at the moment of a scrape.

use std::sync::Arc;

use socktrace_common::socket::TcpState;

use super::{
    histogram::Histogram,
    owners::{Owner, Owners},
    tally::{Counted, Tally},
};
use crate::{
    change::{Learned, Protocol},
    detect::{Finding, Kind, Listener, Severity, World},
    ports,
    probe::counters::Counters,
    table::SocketTable,
};

/// Who uses so much of its descriptors is told of, with or without sockets.
const NEAR: f64 = 0.1;

/// Open sockets of an owner: of TCP by state, else by protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    pub(super) tcp: [u64; TcpState::ALL.len()],
    pub(super) others: [u64; Protocol::ALL.len()],
    /// Nanoseconds.
    pub(super) close_wait_oldest: Option<u64>,
}

/// Runs of a hook, while the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookRuns {
    /// How often.
    pub count: u64,
    /// What that took, in nanoseconds.
    pub ns: u64,
}

/// What became of alerts on their way to an output.
#[derive(Clone, Debug)]
pub struct AlertCounts {
    /// Its name.
    pub output: String,
    /// Those that were taken.
    pub delivered: u64,
    /// Those that were given up.
    pub failed: u64,
    /// Those that found no room in the queue.
    pub dropped: u64,
    /// Those that wait.
    pub waiting: u64,
}

/// What the last look saw, by owner.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By owner and port: connections that wait, how many may, how many were dropped.
    pub(super) queues: Vec<((Owner, u16), [u64; 3])>,
    /// Descriptors of an owner, and how full its worst process is.
    pub(super) descriptors: Vec<(Owner, (u64, f64))>,
    /// How many of a kind and severity stand.
    pub(super) findings: Vec<((Kind, Severity, Owner), u64)>,
    /// Rows about ports.
    pub(super) ports: Vec<ports::Row>,
    /// How many ports may be chosen, by namespace.
    pub(super) eligible: Vec<(u32, u32)>,
}

impl Seen {
    /// Puts together what a look saw. `eligible`: how many ports may be chosen, by namespace.
    pub fn new(
        owners: &mut Owners,
        world: &World,
        findings: &[&Finding],
        eligible: &[(u32, u32)],
    ) -> Self {
        let mut seen = Self {
            ports: world.ports.clone(),
            eligible: eligible.to_vec(),
            ..Self::default()
        };
        for listener in &world.listeners {
            // Unix sockets have names, not ports.
            let Some(port) = listener.local.port else {
                continue;
            };
            let Listener { queue, drops, .. } = listener;
            let owner = owners.of(listener.owner.as_deref());
            let sums = entry(&mut seen.queues, (owner, port));
            // With SO_REUSEPORT several listeners are one.
            for (sum, number) in sums
                .iter_mut()
                .zip([queue.used, queue.limit, drops.unwrap_or(0)])
            {
                *sum += number;
            }
        }
        for it in &world.descriptors {
            // Most processes have nothing to do with sockets, and many are gone in a moment.
            let near = it.filled.ratio() >= NEAR;
            let Some(owner) = owners
                .known(&it.process)
                .or_else(|| near.then(|| owners.of(Some(&it.process))))
            else {
                continue;
            };
            let (open, ratio) = entry(&mut seen.descriptors, owner);
            *open += it.filled.used;
            *ratio = it.filled.ratio().max(*ratio);
        }
        for finding in findings {
            let owner = match &finding.subject.process {
                Some(process) => owners.of(Some(process)),
                None => owners.of(None),
            };
            *entry(&mut seen.findings, (finding.kind, finding.severity, owner)) += 1;
        }
        seen
    }
}

/// The value of a key; lists are short.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let place = list
        .iter()
        .position(|(it, _)| *it == key)
        .unwrap_or_else(|| {
            list.push((key, V::default()));
            list.len() - 1
        });
    &mut list[place].1
}

/// Everything that a scrape shows. It is taken by whoever has the table, and made into text by
/// somebody else.
#[derive(Clone, Debug)]
pub struct Reading {
    /// By place.
    pub(super) owners: Vec<Option<String>>,
    pub(super) open: Vec<Open>,
    pub(super) counted: Vec<Counted>,
    pub(super) events: [u64; crate::change::Kind::OF_SOCKETS.len()],
    pub(super) connect_duration: Histogram,
    pub(super) accept_queue: Histogram,
    pub(super) lifetimes: Vec<(Protocol, usize, Histogram)>,
    pub(super) states: [Histogram; TcpState::ALL.len()],
    pub(super) reconcile: Histogram,
    pub(super) tracked: usize,
    pub(super) untracked: u64,
    pub(super) corrections: [(Learned, u64); Learned::ALL.len()],
    pub(super) seen: Arc<Seen>,
    /// By where.
    pub lost: Vec<(&'static str, u64)>,
    /// What the kernel side counted, where there is one.
    pub counters: Option<Counters>,
    /// By hook: is it attached, and how often did it run?
    pub hooks: Vec<(&'static str, bool, Option<HookRuns>)>,
    /// By output.
    pub alerts: Vec<AlertCounts>,
}

impl Reading {
    /// Takes it at `now`. What is lost, and hooks, are for the caller to add.
    pub fn take(now: u64, tally: &mut Tally, table: &SocketTable, seen: &Arc<Seen>) -> Self {
        let mut open: Vec<Open> = Vec::new();
        for entry in table.iter() {
            let open = tally.owners.of(entry.owner().as_deref()).entry(&mut open);
            let info = entry.info();
            let protocol = Protocol::of(info.family, info.proto);
            if protocol != Protocol::Tcp {
                open.others[protocol as usize] += 1;
                continue;
            }
            let state = entry.state();
            open.tcp[state as usize - 1] += 1;
            if state == TcpState::CloseWait {
                let age = entry.in_state_ns(now);
                open.close_wait_oldest = open.close_wait_oldest.max(age);
            }
        }
        for wait in table.time_waits() {
            let open = tally.owners.of(wait.owner.as_deref()).entry(&mut open);
            open.tcp[TcpState::TimeWait as usize - 1] += 1;
        }
        let lifetimes = Protocol::ALL.iter().zip(&*tally.lifetimes);
        let lifetimes = lifetimes.flat_map(|(protocol, roles)| {
            let roles = roles.iter().enumerate();
            let any = roles.filter(|(_, it)| it.count() > 0);
            any.map(|(role, it)| (*protocol, role, it.clone()))
        });
        let corrections = table.corrections();
        Self {
            owners: tally.owners.names().to_vec(),
            counted: tally.counted.clone(),
            events: tally.events,
            connect_duration: tally.connect_duration.clone(),
            accept_queue: tally.accept_queue.clone(),
            lifetimes: lifetimes.collect(),
            states: tally.states.clone(),
            reconcile: tally.reconcile.clone(),
            tracked: table.len(),
            untracked: table.untracked(),
            corrections: Learned::ALL.map(|it| (it, corrections.of(it))),
            seen: Arc::clone(seen),
            lost: Vec::new(),
            counters: None,
            hooks: Vec::new(),
            alerts: Vec::new(),
            open,
        }
    }
}
