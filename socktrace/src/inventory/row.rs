//! One open socket, with what the lists together say of it.

use std::{collections::HashSet, sync::Arc};

use socktrace_common::socket::TcpState::{CloseWait, Listen, TimeWait};

use crate::{
    change::{Ownership, Role},
    process::Process,
    source::snapshot::{Found, Held, Protocol, State, class::Class},
    table::Entry,
};

/// How long a port stays taken after an orderly close (`TCP_TIMEWAIT_LEN`, include/net/tcp.h).
const TIME_WAIT_MS: u32 = 60_000;

/// One open socket.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the kernel says of it.
    pub found: Found,
    /// Why it has no holder, where it has none; or what it is, where no dump shows it.
    pub class: Option<&'static str>,
    /// Every descriptor that refers to it.
    pub holders: Vec<Holding>,
    /// Who is taken to own it: the holder with the lowest pid.
    pub owner: Option<Arc<Process>>,
    /// Its part in the connection, as far as listeners tell.
    pub role: Role,
    /// For one that waits in a message: the process that is taken to have it in its queue.
    pub receiver: Option<u32>,
    /// What somebody says of it who has followed it.
    pub told: Option<Told>,
}

/// What is known of a socket by its events, and no list shows.
#[derive(Clone, Debug)]
pub struct Told {
    age: Option<Age>,
    in_state: Option<Age>,
    /// Its beginning was seen.
    pub age_is_exact: bool,
    owner: Option<Arc<Process>>,
    ownership: Ownership,
    role: Role,
    /// No event was lost that could concern it.
    pub complete: bool,
}

impl Told {
    /// As the table has it at `now`.
    pub fn of(entry: &Entry<'_>, now: u64) -> Self {
        Self {
            age: entry.age_ns(now).map(Age::of_ns),
            in_state: entry.in_state_ns(now).map(Age::of_ns),
            age_is_exact: entry.age_is_exact(),
            owner: entry.owner(),
            ownership: entry.view().ownership,
            role: entry.role(),
            complete: entry.is_complete(),
        }
    }
}

/// A descriptor of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The process.
    pub process: Arc<Process>,
    /// Its descriptor.
    pub fd: u32,
    /// What it refers to: which end, if it is a pipe.
    pub held: Held,
}

/// How long something has been so: at least this long, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub u64);

/// Nanoseconds in a millisecond.
pub(super) const NS_A_MS: u64 = 1_000_000;

impl Age {
    /// In nanoseconds.
    pub fn ns(self) -> u64 {
        self.0 * NS_A_MS
    }

    fn of_ns(ns: u64) -> Self {
        Self(ns / NS_A_MS)
    }
}

/// Ports on which somebody listens: namespace and port.
pub(super) type Listeners = HashSet<(u32, u16)>;

impl Row {
    /// Namespace and port, if it is TCP and listens: only TCP tells of children that nobody has
    /// accepted.
    pub fn listens_at(&self) -> Option<(u32, u16)> {
        let at = Some((self.found.netns, self.found.local.port?));
        let tcp = self.found.protocol == Protocol::Tcp;
        at.filter(|_| tcp && self.found.state == State::Tcp(Listen))
    }

    /// Namespace and port, if it waits to be accepted.
    pub fn waits_at(&self) -> Option<(u32, u16)> {
        let at = Some((self.found.netns, self.found.local.port?));
        at.filter(|_| self.class == Class::Unaccepted.word())
    }

    /// Takes over what was told of it. That it is held by others now is no secret to the lists.
    pub fn learn(&mut self, told: Told) {
        if told.owner.is_some() {
            self.owner.clone_from(&told.owner);
        }
        if told.role != Role::Unknown {
            self.role = told.role;
        }
        self.told = Some(told);
    }

    /// How the owner is known.
    pub fn ownership(&self) -> Ownership {
        if let Some(told) = self.told.as_ref().filter(|told| told.owner.is_some()) {
            return told.ownership;
        }
        match self.owner {
            Some(_) => Ownership::Adopted,
            None => Ownership::Unknown,
        }
    }

    /// How old the socket is at least: TCP's idle times count from its birth until something
    /// happens.
    pub fn age(&self) -> Option<Age> {
        if let Some(age) = self.told.as_ref().and_then(|told| told.age) {
            return Some(age);
        }
        // A listener's clocks do not run.
        let tcp = self
            .found
            .tcp
            .filter(|_| self.found.state != State::Tcp(Listen))?;
        let idle = [
            tcp.last_data_sent_ms,
            tcp.last_data_recv_ms,
            tcp.last_ack_recv_ms,
        ];
        idle.into_iter().max().map(|ms| Age(ms.into()))
    }

    /// How long it has been in its state at least.
    pub fn in_state(&self) -> Option<Age> {
        if let Some(age) = self.told.as_ref().and_then(|told| told.in_state) {
            return Some(age);
        }
        match self.found.state {
            // The FIN was the last that came, or something came after it.
            State::Tcp(CloseWait) => Some(Age(self.found.tcp?.last_ack_recv_ms.into())),
            State::Tcp(TimeWait) => {
                let left = self.found.timer?.expires_ms;
                Some(Age(TIME_WAIT_MS.saturating_sub(left).into()))
            }
            _ => None,
        }
    }
}

/// Its part in the connection. A port says nothing by its size; that somebody listens on it does.
pub(super) fn role(found: &Found, listeners: &Listeners) -> Role {
    let listened = |port| listeners.contains(&(found.netns, port));
    match found.state {
        State::Tcp(Listen) => Role::Listener,
        State::Tcp(_) | State::Request
            if found.protocol == Protocol::Tcp
                && found.remote.port.is_some()
                && found.local.port.is_some_and(listened) =>
        {
            Role::Server
        }
        _ => Role::Unknown,
    }
}
