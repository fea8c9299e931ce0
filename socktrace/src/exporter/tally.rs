//! What happened, added up: counters and histograms, without an allocation an event.

use std::{cell::RefCell, io, rc::Rc};

use socktrace_common::socket::TcpState;

use super::{
    histogram::{FAST, Histogram, SLOW},
    owners::Owners,
};
use crate::{
    change::{Change, Kind, Protocol, Reason, Role, What},
    clock::Clock,
    errno::{EADDRINUSE, EADDRNOTAVAIL},
    sink::Sink,
    table::{Brief, Look, Looks},
};

/// By protocol and role.
type Parts<T> = [[T; Role::ALL.len()]; Protocol::ALL.len()];

/// What was counted for one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) opened: Parts<u64>,
    pub(super) ended: Parts<[u64; Reason::ALL.len()]>,
    /// By errno, 0 for success; few are ever seen.
    pub(super) connects: Vec<(i32, u64)>,
    pub(super) accepts: u64,
    /// By call and errno.
    pub(super) port_failures: Vec<((&'static str, i32), u64)>,
    /// When something was counted last: `CLOCK_MONOTONIC`, nanoseconds.
    last_ns: u64,
}

/// Adds up what happened since the daemon began.
#[derive(Debug)]
pub struct Tally {
    /// Whose it was.
    pub owners: Owners,
    pub(super) counted: Vec<Counted>,
    pub(super) events: [u64; Kind::OF_SOCKETS.len()],
    pub(super) connect_duration: Histogram,
    pub(super) accept_queue: Histogram,
    /// Those of which there are any.
    pub(super) lifetimes: Box<Parts<Histogram>>,
    pub(super) states: [Histogram; TcpState::ALL.len()],
    pub(super) reconcile: Histogram,
}

impl Tally {
    /// Nothing yet.
    pub fn new(owners: Owners) -> Self {
        let slow = || Histogram::new(SLOW);
        Self {
            owners,
            counted: Vec::new(),
            events: [0; Kind::OF_SOCKETS.len()],
            connect_duration: Histogram::new(FAST),
            accept_queue: Histogram::new(FAST),
            lifetimes: Box::new(std::array::from_fn(|_| std::array::from_fn(|_| slow()))),
            states: std::array::from_fn(|_| slow()),
            reconcile: slow(),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, change: &Change) {
        self.add_brief(Brief::from(&change.what));
        let Some(protocol) = change.socket.protocol else {
            return;
        };
        if !has_owner(&change.what) {
            return;
        }
        let owner = self.owners.of(change.socket.owner.as_deref());
        let counted = owner.entry(&mut self.counted);
        counted.last_ns = change.mono_ns;
        let part = &mut counted.opened[protocol as usize];
        let begins = u64::from(change.socket.takes_part);
        match change.what {
            What::Connect { error, latency_ns } => {
                part[place(Role::Client)] += begins;
                count(&mut counted.connects, error.unwrap_or_default());
                match (error, latency_ns) {
                    (None, Some(ns)) => self.connect_duration.observe(ns),
                    (Some(error @ (EADDRNOTAVAIL | EADDRINUSE)), _) => {
                        count(&mut counted.port_failures, ("connect", error));
                    }
                    _ => {}
                }
            }
            // A port of its own choice that is taken says nothing of the others.
            What::Bind {
                error: Some(error @ EADDRINUSE),
                asked: Some(0),
            } => count(&mut counted.port_failures, ("bind", error)),
            What::Accept { queued_ns, .. } => {
                part[place(Role::Server)] += begins;
                counted.accepts += 1;
                if let Some(ns) = queued_ns {
                    self.accept_queue.observe(ns);
                }
            }
            What::Listen { error: None, .. } => part[place(Role::Listener)] += begins,
            What::End {
                lifetime_ns,
                role,
                reason,
                ..
            } => {
                if role == Role::Unknown {
                    part[place(role)] += 1;
                }
                let role = place(role);
                let reason = Reason::ALL.iter().position(|it| *it == reason);
                counted.ended[protocol as usize][role][reason.unwrap_or_default()] += 1;
                if let Some(ns) = lifetime_ns {
                    self.lifetimes[protocol as usize][role].observe(ns);
                }
            }
            _ => {}
        }
    }

    /// Adds what rows say whoever's they are.
    #[inline]
    fn add_brief(&mut self, brief: Brief) {
        if let Some(count) = self.events.get_mut(brief.kind as usize) {
            *count += 1;
        }
        if let Some((old, ns)) = brief.left {
            self.states[old as usize - 1].observe(ns);
        }
    }

    /// A snapshot took so long, in nanoseconds.
    pub fn reconciled(&mut self, ns: u64) {
        self.reconcile.observe(ns);
    }

    /// Owners of whom nothing was counted since `before` and whose processes are gone are forgotten.
    /// `exists`: is there a process with this number?
    pub fn forget(&mut self, before: u64, exists: impl Fn(u32) -> bool) {
        let counted = &self.counted;
        self.owners.forget(exists, |owner| {
            counted.get(owner.0).is_some_and(|it| it.last_ns >= before)
        });
        for (counted, name) in self.counted.iter_mut().zip(self.owners.names()) {
            if name.is_none() {
                *counted = Counted::default();
            }
        }
    }
}

/// Adds every row to a tally that somebody else reads.
#[derive(Debug)]
pub struct Adder(pub Rc<RefCell<Tally>>);

impl Sink for Adder {
    fn row(&mut self, change: &Change, _: &Clock) -> io::Result<()> {
        self.0.borrow_mut().add(change);
        Ok(())
    }

    fn briefs(&mut self, briefs: &[Brief]) {
        let mut tally = self.0.borrow_mut();
        for brief in briefs {
            tally.add_brief(*brief);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn looks(&self) -> Looks {
        Looks {
            changes: Look::Kind,
            others: |_, what| {
                if has_owner(what) {
                    Look::Full
                } else {
                    Look::Kind
                }
            },
        }
    }
}

/// Does it count for an owner?
fn has_owner(what: &What) -> bool {
    matches!(
        what,
        What::Bind { error: Some(_), .. }
            | What::Listen { .. }
            | What::Connect { .. }
            | What::Accept { .. }
            | What::End { .. }
    )
}

fn count<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) {
    match counts.iter_mut().find(|(it, _)| *it == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}

fn place(role: Role) -> usize {
    Role::ALL
        .iter()
        .position(|it| *it == role)
        .unwrap_or_default()
}
