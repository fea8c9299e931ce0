//! Sockets that nobody seems to hold: were they opened or closed meanwhile, or where are they?

use std::io;

use hashbrown::{HashMap, HashSet};
use socktrace_common::socket::TcpState::Listen;

use super::{
    Want,
    list::{dump, held},
    people::People,
    want::one_of,
};
use crate::source::snapshot::{
    Detail, Elsewhere, Found, Holders, Namespaces, State, States,
    class::{Class, Inodes},
};

/// What is known of sockets without a holder.
#[derive(Debug, Default)]
pub(super) struct Searched {
    elsewhere: Elsewhere,
    /// How many there are in each namespace that are in no ring.
    unexplained: HashMap<u32, u64>,
}

impl Searched {
    /// Looks for them. Where there are none, this costs nothing.
    pub(super) fn new(
        walk: &mut Holders,
        people: &mut People,
        namespaces: &mut Namespaces,
        want: &Want,
        found: &mut Vec<Found>,
    ) -> io::Result<Self> {
        let mut searched = Self::default();
        let missing: Inodes = nobodys(found, people).map(|row| row.inode).collect();
        if missing.is_empty() {
            return Ok(searched);
        }
        // Those that were opened after the first walk have holders by now.
        let (held, _) = held(walk, true)?;
        let late = held.iter().filter(|it| missing.contains(it.inode));
        people.add(late.copied().collect());
        // Who wants what a process holds wants none of the others.
        if want.wants_holders() || nobodys(found, people).next().is_none() {
            return Ok(searched);
        }
        searched.elsewhere = Elsewhere::look(&held)?;
        let again = searched.again(namespaces, people, found);
        let before: HashSet<u64> = nobodys(found, people).map(|row| row.cookie).collect();
        // What came after the queues were asked is in none that was counted.
        let again_nobodys = nobodys(&again, people).filter(|row| {
            // What was not asked for may have been there before, and counts.
            !one_of(&want.protocols, Some(&row.protocol)) || before.contains(&row.cookie)
        });
        let again_nobodys: Vec<_> = again_nobodys.collect();
        searched.unexplained = unexplained(&again_nobodys, &searched.elsewhere);
        // Those that were closed before the second walk are gone, or others than they were.
        let mut again: HashMap<_, _> = again.into_iter().map(|row| (row.cookie, row)).collect();
        found.retain_mut(|row| {
            if !is_nobodys(row, people) {
                return true;
            }
            let now = again.remove(&row.cookie);
            now.map(|now| *row = now).is_some()
        });
        Ok(searched)
    }

    /// Lists once more where there are such sockets: their protocols, or all where one of another
    /// protocol could be what waits in a queue.
    fn again(&self, namespaces: &mut Namespaces, people: &People, found: &[Found]) -> Vec<Found> {
        let mut want = Want::default();
        let (mut listen, mut queued) = (true, false);
        for row in nobodys(found, people) {
            want.netns.push(row.netns);
            want.protocols.push(row.protocol);
            listen &= row.state == State::Tcp(Listen);
            queued |= self.elsewhere.queued(row.netns) > 0;
        }
        if queued {
            want.protocols.clear();
        }
        // The kernel has its listeners in a table of their own, and a short one.
        let states = if listen && !queued {
            States::none().with(Listen)
        } else {
            States::ALL
        };
        // What cannot be listed was told the first time.
        let (mut again, mut notes) = (Vec::new(), Vec::new());
        dump(namespaces, &want, states, &mut notes, |row| again.push(row));
        again
    }

    /// The process that could receive most of what waits in messages of a namespace.
    pub(super) fn receiver(&self, netns: u32) -> Option<u32> {
        self.elsewhere.receiver(netns)
    }

    /// The class of one of them.
    pub(super) fn class(&self, found: &Found) -> Class {
        let unexplained = self.unexplained.get(&found.netns);
        let unexplained = unexplained.copied().unwrap_or_default();
        self.elsewhere.class(found.netns, found.inode, unexplained)
    }
}

/// How many there are in each namespace that are in no ring.
fn unexplained(again: &[&Found], elsewhere: &Elsewhere) -> HashMap<u32, u64> {
    let mut unexplained = HashMap::new();
    for row in again {
        if !elsewhere.is_direct(row.inode) {
            *unexplained.entry(row.netns).or_default() += 1;
        }
    }
    unexplained
}

/// Sockets that have a file and no holder, but not our own.
fn nobodys<'a>(found: &'a [Found], people: &'a People) -> impl Iterator<Item = &'a Found> {
    found.iter().filter(|row| is_nobodys(row, people))
}

fn is_nobodys(found: &Found, people: &People) -> bool {
    Class::of(found, people.inodes()) == Class::NoDescriptor && !asks_for_sockets(found)
}

/// Is it a netlink socket of those that list sockets (`NETLINK_SOCK_DIAG`)?
pub(super) fn asks_for_sockets(found: &Found) -> bool {
    matches!(found.detail, Detail::Netlink { protocol: 4, .. })
}
