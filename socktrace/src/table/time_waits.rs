//! What stays of a connection after its socket: a port that is taken for a minute, by nobody that
//! could be asked. Who took it is known only to those who saw it end.
//!
//! The kernel announces neither its beginning, which is the full socket's last transition, nor its
//! end, which is predicted here and corrected by snapshots.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::{HashMap, HashSet};
use socktrace_common::socket::SocketInfo;

use crate::process::Process;

/// `TCP_TIMEWAIT_LEN` (include/net/tcp.h): one minute. An orphan in `FIN_WAIT2` stays for
/// `net.ipv4.tcp_fin_timeout`, which is as long unless somebody changed it.
const LENGTH_NS: u64 = 60_000_000_000;

/// Room for so many is never given back.
const KEPT: usize = 4096;

/// A minisock in `TIME_WAIT`, or in `FIN_WAIT2` after its socket was let go of.
#[derive(Clone, Debug)]
pub struct TimeWait {
    /// The connection, as it was at its end.
    pub socket: SocketInfo,
    /// The process that owned it: it closed first.
    pub owner: Option<Arc<Process>>,
    /// When its port is free again: `CLOCK_MONOTONIC`, nanoseconds.
    pub until_ns: u64,
    sighted: bool,
}

/// In the order in which they came. An index that is always there would be the largest part of what an
/// event costs: each of them is looked up in a snapshot at most, and soon gone.
#[derive(Debug)]
pub(super) struct TimeWaits {
    /// With the time at which to look at each. One that was corrected is looked at again.
    waiting: VecDeque<(u64, TimeWait)>,
    /// How many there were before the first of them.
    before: u64,
    /// By the cookie, which a minisock inherits: how many there were before it. While a snapshot is
    /// taken in.
    index: Option<HashMap<u64, u64>>,
    /// Those that a snapshot has shown before an event told of them.
    shown: HashSet<u64>,
    most: usize,
}

impl TimeWaits {
    /// At most so many. When there are more the kernel itself keeps none
    /// (`net.ipv4.tcp_max_tw_buckets`), so this limit is above its.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            before: 0,
            index: None,
            shown: HashSet::new(),
            most,
        }
    }

    /// A connection ended here at `now`.
    pub(super) fn begin(&mut self, socket: &SocketInfo, owner: Option<Arc<Process>>, now: u64) {
        if !self.shown.is_empty() && self.shown.remove(&socket.id) {
            self.waiting.retain(|(_, it)| it.socket.id != socket.id);
            self.index = self.index.take().map(|_| self.list());
        }
        self.put(socket, owner, now.saturating_add(LENGTH_NS));
    }

    fn put(&mut self, socket: &SocketInfo, owner: Option<Arc<Process>>, until_ns: u64) {
        if self.waiting.len() >= self.most || socket.id == 0 {
            return;
        }
        let time_wait = TimeWait {
            socket: *socket,
            owner,
            until_ns,
            sighted: true,
        };
        self.append(until_ns, time_wait);
    }

    fn append(&mut self, look_at: u64, time_wait: TimeWait) {
        if let Some(index) = &mut self.index {
            let place = self.before + self.waiting.len() as u64;
            index.insert(time_wait.socket.id, place);
        }
        self.waiting.push_back((look_at, time_wait));
    }

    /// Forgets those that are over by `now`, and gives back what a burst of them took.
    pub(super) fn expire(&mut self, now: u64) {
        while self
            .waiting
            .front()
            .is_some_and(|(look_at, _)| *look_at <= now)
            && let Some((_, time_wait)) = self.waiting.pop_front()
        {
            self.before += 1;
            if time_wait.until_ns > now {
                self.append(time_wait.until_ns, time_wait);
            } else if !self.shown.is_empty() {
                self.shown.remove(&time_wait.socket.id);
            }
        }
        let waiting = &mut self.waiting;
        if waiting.capacity() > KEPT && waiting.len() < waiting.capacity() / 8 {
            waiting.shrink_to(waiting.len() * 2);
        }
    }

    /// A snapshot begins.
    pub(super) fn begin_pass(&mut self) {
        for (_, time_wait) in &mut self.waiting {
            time_wait.sighted = false;
        }
        self.index = Some(self.list());
    }

    fn list(&self) -> HashMap<u64, u64> {
        self.iter()
            .map(|it| it.socket.id)
            .zip(self.before..)
            .collect()
    }

    /// A snapshot shows one; says whether it was news.
    pub(super) fn sight(&mut self, socket: &SocketInfo, until_ns: u64) -> bool {
        let index = self.index.take().unwrap_or_else(|| self.list());
        let place = index.get(&socket.id).copied();
        self.index = Some(index);
        let place = place.and_then(|place| place.checked_sub(self.before));
        let place = place.and_then(|place| usize::try_from(place).ok());
        let Some((_, time_wait)) = place.and_then(|place| self.waiting.get_mut(place)) else {
            self.put(socket, None, until_ns);
            self.shown.insert(socket.id);
            return true;
        };
        (time_wait.until_ns, time_wait.sighted) = (until_ns, true);
        false
    }

    /// A snapshot has been taken in. If it was `whole` it has shown all that there are: others were
    /// recycled or killed. Says how many.
    pub(super) fn end_pass(&mut self, whole: bool) -> u64 {
        self.index = None;
        let (before, shown) = (self.waiting.len(), &mut self.shown);
        self.waiting.retain(|(_, it)| {
            let stays = it.sighted || !whole;
            if !stays {
                shown.remove(&it.socket.id);
            }
            stays
        });
        (before - self.waiting.len()) as u64
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TimeWait> {
        self.waiting.iter().map(|(_, it)| it)
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn info(id: u64) -> SocketInfo {
        SocketInfo {
            id,
            ..SocketInfo::new_zeroed()
        }
    }

    fn ids(waits: &TimeWaits) -> Vec<u64> {
        let mut ids: Vec<_> = waits.iter().map(|it| it.socket.id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn one_minute_and_no_longer() {
        let mut waits = TimeWaits::new(10);
        waits.begin(&info(1), None, 0);
        waits.begin(&info(2), None, 1_000);
        waits.expire(LENGTH_NS - 1);
        assert_eq!(ids(&waits), [1, 2]);
        waits.expire(LENGTH_NS);
        assert_eq!(ids(&waits), [2]);
    }

    #[test]
    fn a_snapshot_corrects_when_and_whether() {
        let mut waits = TimeWaits::new(10);
        waits.begin(&info(1), None, 0);
        waits.begin(&info(2), None, 0);
        waits.begin_pass();
        // A late packet began its minute again; another one was there before us.
        assert!(!waits.sight(&info(1), 2 * LENGTH_NS));
        assert!(waits.sight(&info(3), LENGTH_NS));
        assert_eq!(waits.end_pass(true), 1);
        assert_eq!(ids(&waits), [1, 3]);
        waits.expire(LENGTH_NS);
        assert_eq!(ids(&waits), [1]);
        waits.expire(2 * LENGTH_NS);
        assert!(ids(&waits).is_empty());
    }

    #[test]
    fn the_room_that_a_burst_took_is_given_back() {
        let mut waits = TimeWaits::new(100_000);
        for id in 1..=100_000 {
            waits.begin(&info(id), None, id);
        }
        waits.begin(&info(1), None, 0);
        assert!(waits.waiting.capacity() >= 100_000);
        waits.expire(LENGTH_NS + 100_000 - 10);
        assert_eq!(waits.iter().count(), 10);
        assert!(
            waits.waiting.capacity() < KEPT,
            "{}",
            waits.waiting.capacity()
        );
        waits.expire(LENGTH_NS + 100_000);
        assert_eq!(waits.iter().count(), 0);
    }

    #[test]
    fn one_that_is_shown_first_and_told_then_is_one() {
        let mut waits = TimeWaits::new(10);
        waits.begin_pass();
        assert!(waits.sight(&info(1), 10));
        assert!(!waits.sight(&info(1), 20));
        waits.begin(&info(1), None, 1_000);
        assert_eq!(ids(&waits), [1]);
        assert!(!waits.sight(&info(1), LENGTH_NS));
        assert_eq!(waits.end_pass(false), 0);
        // It is known by then when it is over.
        waits.expire(LENGTH_NS + 999);
        assert_eq!(ids(&waits), [1]);
        waits.expire(LENGTH_NS + 1_000);
        assert!(ids(&waits).is_empty());
    }

    #[test]
    fn there_is_a_limit() {
        let mut waits = TimeWaits::new(1);
        waits.begin(&info(1), None, 0);
        waits.begin(&info(2), None, 0);
        assert_eq!(ids(&waits), [1]);
    }
}
