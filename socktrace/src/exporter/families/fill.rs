//! Which series a reading has.

use std::{collections::BTreeMap, net::SocketAddr};

use socktrace_common::socket::TcpState;

use super::{
    super::{Owner, catalog as metric},
    Families, Reading, Settings,
};
use crate::{
    change::{Kind, Protocol, Reason, Role, state_word},
    endpoint::protocol_word,
    errno, ports,
};

/// All of them.
pub(super) fn fill(families: &mut Families, reading: &Reading, settings: &Settings) {
    sockets(families, reading);
    counted(families, reading);
    times(families, reading);
    queues(families, reading);
    ports_of(families, reading, settings);
    for ((kind, severity, owner), count) in &reading.seen.findings {
        let labels = [kind.word(), severity.word(), reading.name(*owner)];
        families.value(&metric::FINDINGS, &labels, *count);
    }
    for (owner, (open, ratio)) in &reading.seen.descriptors {
        let labels = [reading.name(*owner)];
        families.value(&metric::OPEN_FDS, &labels, *open);
        families.number(&metric::FD_RATIO, &labels, *ratio);
    }
    health(families, reading);
}

impl Reading {
    fn name(&self, owner: Owner) -> &str {
        let name = self.owners.get(owner.0).and_then(Option::as_deref);
        // Its place was taken away since the last look.
        name.unwrap_or("other")
    }

    /// Owners with their names.
    fn owned<'a, T>(&'a self, list: &'a [T]) -> impl Iterator<Item = (&'a str, &'a T)> {
        let named = self.owners.iter().zip(list);
        named.filter_map(|(name, it)| Some((name.as_deref()?, it)))
    }
}

fn sockets(families: &mut Families, reading: &Reading) {
    for (owner, open) in reading.owned(&reading.open) {
        // Either all states of an owner or none: a sum over them means something.
        if open.tcp.iter().any(|count| *count > 0) || owner == "other" {
            for (state, count) in TcpState::ALL.into_iter().zip(open.tcp) {
                families.value(&metric::SOCKETS, &["tcp", state_word(state), owner], count);
            }
        }
        for (protocol, count) in Protocol::ALL.into_iter().zip(open.others) {
            if count > 0 {
                families.value(
                    &metric::SOCKETS,
                    &[protocol_word(protocol), "none", owner],
                    count,
                );
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds")]
        if let Some(age) = open.close_wait_oldest {
            families.number(&metric::CLOSE_WAIT_OLDEST, &[owner], age as f64 / 1e9);
        }
    }
}

fn counted(families: &mut Families, reading: &Reading) {
    for (owner, counted) in reading.owned(&reading.counted) {
        for protocol in Protocol::ALL {
            let word = protocol_word(protocol);
            for (role, count) in Role::ALL.into_iter().zip(counted.opened[protocol as usize]) {
                if count > 0 {
                    families.value(&metric::OPENED, &[word, role.word(), owner], count);
                }
            }
            for (role, reasons) in Role::ALL.into_iter().zip(counted.ended[protocol as usize]) {
                for (reason, count) in Reason::ALL.into_iter().zip(reasons) {
                    if count > 0 {
                        let labels = [word, role.word(), reason.word(), owner];
                        families.value(&metric::ENDED, &labels, count);
                    }
                }
            }
        }
        for (error, count) in &counted.connects {
            let result = match error {
                0 => "ok".into(),
                error => errno::name(*error),
            };
            families.value(&metric::CONNECTS, &[&result, owner], *count);
        }
        if counted.accepts > 0 {
            families.value(&metric::ACCEPTS, &[owner], counted.accepts);
        }
        for ((call, error), count) in &counted.port_failures {
            families.value(
                &metric::PORT_FAILURES,
                &[call, &errno::name(*error), owner],
                *count,
            );
        }
    }
}

fn times(families: &mut Families, reading: &Reading) {
    families.histogram(&metric::CONNECT_DURATION, &[], &reading.connect_duration);
    families.histogram(&metric::ACCEPT_QUEUE_TIME, &[], &reading.accept_queue);
    families.histogram(&metric::RECONCILE, &[], &reading.reconcile);
    for (protocol, role, histogram) in &reading.lifetimes {
        let labels = [protocol_word(*protocol), Role::ALL[*role].word()];
        families.histogram(&metric::LIFETIME, &labels, histogram);
    }
    for (state, histogram) in TcpState::ALL.into_iter().zip(&reading.states) {
        families.histogram(&metric::STATE_DURATION, &[state_word(state)], histogram);
    }
}

fn queues(families: &mut Families, reading: &Reading) {
    for ((owner, port), [length, limit, drops]) in &reading.seen.queues {
        let port = port.to_string();
        let labels = [reading.name(*owner), &port];
        families.value(&metric::QUEUE_LENGTH, &labels, *length);
        families.value(&metric::QUEUE_LIMIT, &labels, *limit);
        families.value(&metric::QUEUE_DROPS, &labels, *drops);
    }
}

/// The worst of a namespace, by protocol.
#[derive(Clone, Copy)]
struct Worst {
    eligible: u32,
    ratio: f64,
    seconds: f64,
}

fn ports_of(families: &mut Families, reading: &Reading, settings: &Settings) {
    let mut worst: BTreeMap<(u32, &str), Worst> = BTreeMap::new();
    // Where nothing is used there is no row, and a series nevertheless.
    for &(netns, eligible) in &reading.seen.eligible {
        for proto in ["tcp", "udp"] {
            let nothing = Worst {
                eligible,
                ratio: 0.0,
                seconds: f64::INFINITY,
            };
            worst.insert((netns, proto), nothing);
        }
    }
    for row in &reading.seen.ports {
        let key = (row.netns, proto(row));
        let Some(it) = worst.get_mut(&key) else {
            continue;
        };
        it.ratio = it.ratio.max(row.ports.ratio());
        it.seconds = it.seconds.min(row.eta_seconds.unwrap_or(f64::INFINITY));
    }
    let mut namespaces: BTreeMap<u32, f64> = BTreeMap::new();
    for ((netns, _), it) in &worst {
        let ratio = namespaces.entry(*netns).or_default();
        *ratio = ratio.max(it.ratio);
    }
    let mut order: Vec<_> = namespaces.into_iter().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (place, (netns, _)) in order.into_iter().enumerate() {
        let all = worst.range((netns, "")..(netns + 1, ""));
        if place >= settings.namespaces {
            for it in [&metric::PORTS, &metric::PORTS_RATIO, &metric::PORTS_SECONDS] {
                *families.dropped.entry(it.name).or_default() += 1;
            }
            continue;
        }
        let name = netns.to_string();
        for (index, ((_, proto), it)) in all.enumerate() {
            if index == 0 {
                families.value(&metric::PORTS, &[&name], it.eligible.into());
            }
            families.number(&metric::PORTS_RATIO, &[&name, proto], it.ratio);
            families.number(&metric::PORTS_SECONDS, &[&name, proto], it.seconds);
        }
    }
    let mut rows: Vec<_> = reading.seen.ports.iter().collect();
    rows.retain(|row| row.kind.remote().is_some());
    rows.sort_by(|a, b| b.ports.ratio().total_cmp(&a.ports.ratio()));
    let mut told: Vec<[String; 2]> = Vec::new();
    for row in rows {
        let Some((address, port)) = row.kind.remote() else {
            continue;
        };
        let key = [
            row.netns.to_string(),
            SocketAddr::new(address, port).to_string(),
        ];
        // Of several sources the first is the worst.
        if told.len() >= settings.destinations || told.contains(&key) {
            continue;
        }
        let labels = [&*key[0], proto(row), &*key[1]];
        families.number(&metric::PORTS_DESTINATION, &labels, row.ports.ratio());
        told.push(key);
    }
}

fn proto(row: &ports::Row) -> &'static str {
    match row.kind.protocol() {
        ports::Protocol::Tcp => "tcp",
        ports::Protocol::Udp => "udp",
    }
}

fn health(families: &mut Families, reading: &Reading) {
    for (kind, count) in Kind::OF_SOCKETS.iter().zip(reading.events) {
        families.value(&metric::EVENTS, &[kind.word()], count);
    }
    if let Some(counters) = &reading.counters {
        families.value(&metric::HOOK_CALLS, &[], counters.seen);
        for (outcome, count) in [
            ("emitted", counters.emitted),
            ("folded", counters.folded),
            ("filtered", counters.filtered),
            ("lost_ring", counters.lost_ring),
            ("lost_map", counters.lost_map),
        ] {
            families.value(&metric::HOOK_OUTCOMES, &[outcome], count);
        }
    }
    for (place, count) in &reading.lost {
        families.value(&metric::LOST, &[place], *count);
    }
    for (hook, attached, runs) in &reading.hooks {
        families.value(&metric::HOOK_ATTACHED, &[hook], u64::from(*attached));
        if let Some(runs) = runs {
            families.value(&metric::HOOK_RUNS, &[hook], runs.count);
            #[allow(clippy::cast_precision_loss, reason = "seconds")]
            families.number(&metric::HOOK_SECONDS, &[hook], runs.ns as f64 / 1e9);
        }
    }
    for it in &reading.alerts {
        let results = [
            ("delivered", it.delivered),
            ("failed", it.failed),
            ("dropped", it.dropped),
        ];
        for (result, count) in results {
            families.value(&metric::ALERTS, &[&it.output, result], count);
        }
        families.value(&metric::ALERTS_WAITING, &[&it.output], it.waiting);
    }
    families.value(&metric::TRACKED, &[], reading.tracked as u64);
    families.value(&metric::TABLE_FULL, &[], reading.untracked);
    for (learned, count) in &reading.corrections {
        families.value(&metric::CORRECTIONS, &[learned.word()], *count);
    }
    let labels = [env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION")];
    families.value(&metric::BUILD, &labels, 1);
}
