//! One open socket, with what the lists together say of it.

use std::{collections::HashSet, sync::Arc};

use socktrace_common::socket::TcpState::{CloseWait, Listen, TimeWait};

use crate::{
    change::{Ownership, Role},
    process::Process,
    source::snapshot::{Found, Held, Protocol, State, class::Class},
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
pub struct Age(pub u32);

/// Nanoseconds in a millisecond.
pub(super) const NS_A_MS: u64 = 1_000_000;

impl Age {
    /// In nanoseconds.
    pub fn ns(self) -> u64 {
        u64::from(self.0) * NS_A_MS
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

    /// How the owner is known.
    pub fn ownership(&self) -> Ownership {
        match self.owner {
            Some(_) => Ownership::Adopted,
            None => Ownership::Unknown,
        }
    }

    /// How old the socket is at least: TCP's idle times count from its birth until something
    /// happens.
    pub fn age(&self) -> Option<Age> {
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
        idle.into_iter().max().map(Age)
    }

    /// How long it has been in its state at least.
    pub fn in_state(&self) -> Option<Age> {
        match self.found.state {
            // The FIN was the last that came, or something came after it.
            State::Tcp(CloseWait) => Some(Age(self.found.tcp?.last_ack_recv_ms)),
            State::Tcp(TimeWait) => {
                let left = self.found.timer?.expires_ms;
                Some(Age(TIME_WAIT_MS.saturating_sub(left)))
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
