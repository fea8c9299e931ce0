//! What stays of a connection after its socket: a port that is taken for a minute, by nobody that
//! could be asked. Who took it is known only to those who saw it end.
//!
//! The kernel announces neither its beginning, which is the full socket's last transition, nor its
//! end, which is predicted here and corrected by snapshots.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;
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

/// By the cookie, which a minisock inherits.
#[derive(Debug)]
pub(super) struct TimeWaits {
    waiting: HashMap<u64, TimeWait>,
    /// When to look at which, oldest first. One that was corrected is looked at again.
    order: VecDeque<(u64, u64)>,
    most: usize,
}

impl TimeWaits {
    /// At most so many. When there are more the kernel itself keeps none
    /// (`net.ipv4.tcp_max_tw_buckets`), so this limit is above its.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// A connection ended here at `now`.
    pub(super) fn begin(&mut self, socket: &SocketInfo, owner: Option<Arc<Process>>, now: u64) {
        self.put(socket, owner, now.saturating_add(LENGTH_NS));
    }

    fn put(&mut self, socket: &SocketInfo, owner: Option<Arc<Process>>, until_ns: u64) {
        if self.waiting.len() >= self.most || socket.id == 0 {
            return;
        }
        self.order.push_back((until_ns, socket.id));
        let time_wait = TimeWait {
            socket: *socket,
            owner,
            until_ns,
            sighted: true,
        };
        self.waiting.insert(socket.id, time_wait);
    }

    /// Forgets those that are over by `now`, and gives back what a burst of them took.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(&(until_ns, id)) = self.order.front()
            && until_ns <= now
        {
            self.order.pop_front();
            if let Some(time_wait) = self.waiting.get(&id) {
                if time_wait.until_ns <= now {
                    self.waiting.remove(&id);
                } else {
                    self.order.push_back((time_wait.until_ns, id));
                }
            }
        }
        let (waiting, order) = (&mut self.waiting, &mut self.order);
        if waiting.capacity() > KEPT && waiting.len() < waiting.capacity() / 8 {
            waiting.shrink_to(waiting.len() * 2);
        }
        if order.capacity() > KEPT && order.len() < order.capacity() / 8 {
            order.shrink_to(order.len() * 2);
        }
    }

    /// A snapshot begins.
    pub(super) fn begin_pass(&mut self) {
        for time_wait in self.waiting.values_mut() {
            time_wait.sighted = false;
        }
    }

    /// A snapshot shows one; says whether it was news.
    pub(super) fn sight(&mut self, socket: &SocketInfo, until_ns: u64) -> bool {
        let Some(time_wait) = self.waiting.get_mut(&socket.id) else {
            self.put(socket, None, until_ns);
            return true;
        };
        (time_wait.until_ns, time_wait.sighted) = (until_ns, true);
        false
    }

    /// A snapshot has shown all that there are: others were recycled or killed. Says how many.
    pub(super) fn end_pass(&mut self) -> u64 {
        let before = self.waiting.len();
        self.waiting.retain(|_, time_wait| time_wait.sighted);
        // What was taken out leaves its entry in `order` until that comes up.
        (before - self.waiting.len()) as u64
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TimeWait> {
        self.waiting.values()
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
        assert_eq!(waits.end_pass(), 1);
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
        assert!(waits.order.capacity() < KEPT, "{}", waits.order.capacity());
        waits.expire(LENGTH_NS + 100_000);
        assert_eq!(waits.iter().count(), 0);
    }

    #[test]
    fn there_is_a_limit() {
        let mut waits = TimeWaits::new(1);
        waits.begin(&info(1), None, 0);
        waits.begin(&info(2), None, 0);
        assert_eq!(ids(&waits), [1]);
    }
}
