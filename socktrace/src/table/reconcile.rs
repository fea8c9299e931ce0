//! Snapshots make up for what events did not tell: what was lost, what no event announces.

use hashbrown::HashSet;
use socktrace_common::socket::{Protocol, SYNTHETIC_ID, TcpState};

use super::{Audience, SocketTable, TimeWait, socket::Socket};
use crate::change::Learned;

/// A snapshot that is being taken: of what was before it began, it says how things are; what
/// events tell since then is newer.
#[derive(Debug)]
pub(super) struct Pass {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) began_ns: u64,
    /// Sockets that ended since then, which its lists may still have.
    pub(super) ended: HashSet<u64>,
}

/// What snapshots had to correct, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections([u64; Learned::ALL.len()]);

impl Corrections {
    /// How many of this kind.
    pub fn of(&self, learned: Learned) -> u64 {
        self.0[learned as usize]
    }

    /// Every kind with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Learned, u64)> {
        Learned::ALL.into_iter().zip(self.0)
    }
}

/// In how many snapshots a socket must be missing to be taken for gone. A list is not taken in
/// one moment, so one that moves within it can be missed.
const MISSED: u8 = 2;

impl SocketTable {
    /// A snapshot begins at `now`; what [`adopt`](Self::adopt) brings until
    /// [`snapshot_ends`](Self::snapshot_ends) is from it.
    pub fn snapshot_begins(&mut self, now: u64) {
        self.time_waits.expire(now);
        self.time_waits.begin_pass();
        for socket in self.sockets.iter_mut() {
            (socket.flags.touched, socket.flags.sighted) = (false, false);
        }
        // What was told before the first snapshot has been taken in by now.
        self.sockets.forget_former();
        self.pass = Some(Pass {
            began_ns: now,
            ended: HashSet::new(),
        });
    }

    /// The snapshot has been taken in. If it was `whole`, what it does not show is not there.
    pub fn snapshot_ends(&mut self, whole: bool, audience: &mut impl Audience) {
        let Some(began_ns) = self.pass.as_ref().map(|pass| pass.began_ns) else {
            return;
        };
        let over = self.time_waits.end_pass(whole);
        self.count(Learned::TimeWait, over);
        if whole {
            for id in self.missing() {
                let state = self.sockets.get(id).and_then(Socket::tcp_state);
                self.learned(id, Learned::Gone, state, audience);
                self.drop_socket(id);
            }
            self.repaired |= self.lost_at.is_none_or(|at| at < began_ns);
        }
        self.pass = None;
        self.snapshots += 1;
    }

    /// Counts what a snapshot taught. The first corrects nothing: nobody was there before.
    pub(super) fn count(&mut self, learned: Learned, count: u64) {
        if self.snapshots > 0 {
            self.corrections.0[learned as usize] += count;
        }
    }

    /// What the snapshot should have shown and did not, often enough.
    fn missing(&mut self) -> Vec<u64> {
        let lost_at = self.lost_at;
        let mut gone = Vec::new();
        for socket in self.sockets.iter_mut() {
            let flags = &mut socket.flags;
            if flags.sighted || flags.touched {
                flags.missed = 0;
                continue;
            }
            flags.missed = flags.missed.saturating_add(1);
            // Was a loss possibly its end?
            let doubted = lost_at.is_some_and(|at| socket.birth().is_none_or(|born| at >= born));
            let enough = if doubted { 1 } else { MISSED };
            if socket.flags.missed >= enough && (doubted || is_listed(socket)) {
                gone.push(socket.id());
            }
        }
        gone
    }

    /// A socket is gone, and what was known of it goes too.
    pub(super) fn drop_socket(&mut self, id: u64) {
        self.is_over(id);
        self.accepts.remove(&id);
        if let Some(socket) = self.sockets.remove(id) {
            for holder in socket.holders {
                self.holders.release(holder.pid, holder.fd);
            }
        }
    }

    /// A socket has ended, whatever the lists of a snapshot say that is being taken.
    pub(super) fn is_over(&mut self, id: u64) {
        if let Some(pass) = &mut self.pass {
            pass.ended.insert(id);
        }
    }

    /// An event was lost, at `now` or before. It could concern any socket that was there.
    pub fn lost(&mut self, now: u64) {
        self.lost_at = self.lost_at.max(Some(now));
        self.repaired = false;
    }

    /// Has a snapshot made up for every loss?
    pub fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Time goes by.
    pub fn passes(&mut self, now: u64) {
        self.time_waits.expire(now);
    }

    /// Was no event lost that could concern the socket, or has a snapshot made up for it?
    pub(super) fn covers(&self, socket: &Socket) -> bool {
        let lost_at = self.lost_at.filter(|_| !self.repaired);
        lost_at.is_none_or(|at| socket.birth().is_some_and(|born| born > at))
    }

    /// What snapshots had to correct so far.
    pub fn corrections(&self) -> &Corrections {
        &self.corrections
    }

    /// Ports that connections keep after their end.
    pub fn time_waits(&self) -> impl Iterator<Item = &TimeWait> {
        self.time_waits.iter()
    }
}

/// Does a dump show it for sure, if it is there? What no dump shows is found by its descriptors
/// only, and may have none: in a message, or among the direct descriptors of a ring.
fn is_listed(socket: &Socket) -> bool {
    match socket.protocol() {
        Protocol::Tcp => {
            let over = matches!(socket.state, TcpState::Close | TcpState::TimeWait);
            socket.id() < SYNTHETIC_ID && !over
        }
        // The kernel lists those that have a port.
        Protocol::Udp | Protocol::UdpLite => socket.info().lport != 0,
        // From their creation on (`unix_socket_table`, `net->packet.sklist`).
        Protocol::Unix | Protocol::Packet => true,
        // From the first bind() or send on (`netlink_insert()`), which no event may have told.
        Protocol::Netlink => socket.flags.settled,
        // Of MPTCP those with a token, of raw sockets where there is `raw_diag`.
        Protocol::Mptcp | Protocol::Raw | Protocol::Other | Protocol::Pipe => false,
    }
}
