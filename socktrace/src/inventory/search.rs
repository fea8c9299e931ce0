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
        let waiting: Vec<_> = nobodys(&again, people).collect();
        searched.unexplained = unexplained(want, &before, &waiting, &searched.elsewhere);
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

/// How many there are in each namespace that are in no ring. What came after the queues were asked is
/// in none that was counted, so it counts if it was there `before`; what was not asked for may have been,
/// and counts.
fn unexplained(
    want: &Want,
    before: &HashSet<u64>,
    again: &[&Found],
    elsewhere: &Elsewhere,
) -> HashMap<u32, u64> {
    let mut unexplained = HashMap::new();
    for row in again {
        let asked_for = one_of(&want.protocols, Some(&row.protocol));
        let counts = !asked_for || before.contains(&row.cookie);
        if counts && !elsewhere.is_direct(row.inode) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::snapshot::{Ends, Protocol};

    /// Sockets by cookie and namespace; anything with both does.
    fn counted(want: &[Protocol], before: &[u64]) -> HashMap<u32, u64> {
        let rows = [(1, 7), (2, 7), (3, 8), (4, 7)].map(|(cookie, netns)| Found {
            cookie,
            netns,
            ..Found::pipe(10, Ends::Both)
        });
        let want = Want {
            protocols: want.to_vec(),
            ..Want::default()
        };
        let before = before.iter().copied().collect();
        unexplained(&want, &before, &rows.each_ref(), &Elsewhere::default())
    }

    #[test]
    fn what_came_after_the_queues_were_asked_is_not_counted_against_them() {
        let expected = HashMap::from([(7, 1), (8, 1)]);
        assert_eq!(counted(&[Protocol::Pipe], &[1, 3, 9]), expected);
        assert_eq!(counted(&[], &[1, 3, 9]), expected);
    }

    #[test]
    fn what_was_not_asked_for_counts_as_it_may_have_been_there() {
        let expected = HashMap::from([(7, 3), (8, 1)]);
        assert_eq!(counted(&[Protocol::Tcp], &[1]), expected);
    }
}
