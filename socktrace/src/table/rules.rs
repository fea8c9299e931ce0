//! What becomes of one socket by what happens to it, wherever it is kept, and what there is to tell.

use std::sync::Arc;

use socktrace_common::{
    event::{ConnectEvent, Header},
    socket::{
        FAMILY_IPV4, FAMILY_IPV6, Protocol, SocketInfo,
        TcpState::{self, Close, Established, Listen, SynRecv, SynSent},
    },
};

use super::{
    connect::{self, Told},
    lifecycle::Transition,
    opened::Call,
    socket::Socket,
};
use crate::{
    change::{Outcome, Reason, Role, What},
    event::Announced,
    process::Process,
};

impl Socket {
    /// `socket()` made it.
    pub(super) fn created(&mut self, header: &Header, fd: i32, process: Option<&Arc<Process>>) {
        self.own_exactly(process, Some(fd));
        self.open_by(header, Call::Socket);
    }

    /// `connect()` returned `ret`; the outcome, if that tells it. `established`: that was known before;
    /// `disconnected`: the call was to end a connection.
    pub(super) fn connected(
        &mut self,
        header: &Header,
        fd: i32,
        ret: i32,
        process: Option<&Arc<Process>>,
        established: bool,
        disconnected: bool,
    ) -> Option<Told> {
        self.own(process, Some(fd));
        self.open_by(header, Call::Connect);
        let attempt = &mut self.attempt;
        let told = connect::returned(attempt, header.mono_ns, established, ret);
        if told.is_some() && !disconnected {
            // It tried, even if it did not get as far as SYN_SENT.
            self.role = Role::Client;
        }
        told
    }

    /// `accept()` returned it; how long it had waited for that, nanoseconds.
    pub(super) fn accepted(
        &mut self,
        header: &Header,
        fd: i32,
        process: Option<&Arc<Process>>,
    ) -> Option<u64> {
        self.own_exactly(process, Some(fd));
        self.open_by(header, Call::Accept);
        self.role = Role::Server;
        // With TCP Fast Open it is in the queue before it is established.
        let queued = self.established().or(self.birth());
        queued.map(|since| header.mono_ns.saturating_sub(since))
    }

    /// Its state changes; how long it was in the old one, nanoseconds, where that is known.
    ///
    /// What there may be to tell besides is asked for apart: most changes tell nothing else.
    #[inline]
    pub(super) fn changed(
        &mut self,
        now: u64,
        connect_fd: i32,
        announced: &Announced,
        transition: Transition,
    ) -> Option<u64> {
        let (old, new) = (transition.old, transition.new);
        let was_established = self.established().is_some();
        match (old, new) {
            (Close, SynSent) => {
                self.role = Role::Client;
                self.attempt = Some(connect::begin(now, connect_fd >= 0));
                // A second life of the same socket.
                self.set_established(None);
                self.set_bytes(None);
                self.reason = None;
            }
            (Close, Listen) => self.role = Role::Listener,
            (Listen, SynRecv) => self.role = Role::Server,
            (_, Established) => self.set_established(Some(now)),
            _ => {}
        }
        if matches!(new, Close | TcpState::TimeWait) {
            self.reason = Some(transition.reason());
            if transition.ends_connection() {
                // Without our having seen it begin, whether a SYN counts is known from the state.
                let established = was_established || old != SynSent;
                let bytes = transition.bytes(announced, self.role, established);
                self.set_bytes(Some(bytes));
            }
        }
        let since = self.in_state_since();
        self.enter(new, now);
        since.map(|since| now.saturating_sub(since))
    }

    /// How the connection went that this change ended.
    pub(super) fn outcome(
        &self,
        now: u64,
        in_old_ns: Option<u64>,
        transition: Transition,
    ) -> Outcome {
        let established = self.established();
        Outcome {
            duration_ns: established.map_or(in_old_ns, |since| Some(now.saturating_sub(since))),
            reason: transition.reason(),
            bytes: self.bytes().unwrap_or_default(),
        }
    }

    /// The outcome of an active open, if this change tells it.
    #[inline]
    pub(super) fn outcome_of_open(
        &mut self,
        now: u64,
        announced: &Announced,
        transition: Transition,
    ) -> Option<Told> {
        if transition.old != SynSent {
            return None;
        }
        let (new, error) = (transition.new, transition.error);
        connect::left_syn_sent(&mut self.attempt, now, new, error, announced.is_bound)
    }

    /// It is gone now.
    pub(super) fn destroyed(&self, now: u64) -> What {
        let tcp = self.protocol() == Protocol::Tcp;
        // Of one that was there first, nobody knows what it has been through.
        let known = tcp && self.birth().is_some();
        let never_connected = self.attempt.is_none() && self.established().is_none();
        // Others end when they are closed, whatever was before.
        let unseen = if !tcp || known && never_connected {
            Reason::Closed
        } else {
            Reason::Unknown
        };
        What::End {
            lifetime_ns: self.lifetime_ns(now),
            role: self.role,
            reason: self.reason.unwrap_or(unseen),
            bytes: self
                .bytes()
                .or_else(|| (known && never_connected).then(Default::default)),
        }
    }
}

impl From<Told> for What {
    fn from(told: Told) -> Self {
        Self::Connect {
            error: told.error,
            latency_ns: told.latency_ns,
        }
    }
}

/// Where a failed `connect()` wanted to go: `struct sockaddr_in` or `sockaddr_in6`.
pub(super) fn target(event: &ConnectEvent) -> Option<SocketInfo> {
    let bytes = &event.target;
    let mut info = event.socket;
    info.rport = u16::from_be_bytes([bytes[2], bytes[3]]);
    info.raddr = [0; 16];
    match u16::from_ne_bytes([bytes[0], bytes[1]]) {
        family if family == u16::from(FAMILY_IPV4) => {
            info.raddr[..4].copy_from_slice(&bytes[4..8]);
            info.family = FAMILY_IPV4;
        }
        family if family == u16::from(FAMILY_IPV6) => info.raddr.copy_from_slice(&bytes[8..24]),
        _ => return None,
    }
    Some(info)
}
