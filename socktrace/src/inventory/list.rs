//! Takes the lists: holders first, then every namespace's sockets, and puts them together.

use std::io;

use hashbrown::HashMap;
use socktrace_common::socket::TcpState;

use super::{Row, Want, people::People, row::Listeners, want::one_of};
use crate::{
    probe::offsets::KernelTypes,
    source::snapshot::{
        Buffer, Detail, DiagError, Elsewhere, Extras, Found, Held, Holder, Holders, Namespaces,
        Protocols, Query, State, Walked,
        class::{Class, Inodes},
    },
};

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Listed {
    /// The sockets that are wanted.
    pub rows: Vec<Row>,
    /// What is missing, for people.
    pub notes: Vec<String>,
}

/// Lists what is open and wanted. `types` lets the kernel list descriptors; without, `/proc` does.
pub fn list(want: &Want, types: Option<&KernelTypes>, details: bool) -> io::Result<Listed> {
    let mut listed = Listed::default();
    let mut walk = types.map_or_else(Holders::from_proc, Holders::new);
    let (held, walked) = held(&mut walk, want.wants_pipes())?;
    let complete = walked.unreadable == 0;
    if !complete {
        listed.notes.push(format!(
            "{} processes do not show their descriptors: their sockets have no holders here \
             (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show all)",
            walked.unreadable
        ));
    }
    let mut namespaces = Namespaces::new();
    namespaces.refresh(held.iter().filter_map(Holder::lead))?;
    let mut found = Vec::new();
    dump(&mut namespaces, want, &mut found, &mut listed.notes);
    for skipped in namespaces.skipped() {
        let (inum, reason) = (skipped.inum, &skipped.reason);
        listed
            .notes
            .push(format!("namespace {inum} is not listed: {reason}"));
    }
    let mut people = People::new(held, details);
    let searched = search(&mut walk, &mut people, &found, &mut namespaces, want)?;
    let listeners = listeners(&found);
    for found in found {
        let class = match Class::of(&found, people.inodes()) {
            // Opened after the descriptors were listed: by us, to ask.
            Class::NoDescriptor if asks_for_sockets(&found) => continue,
            Class::NoDescriptor => searched.class(&found),
            class => class,
        };
        let row = people.row(found, class.word(), &listeners);
        listed.rows.push(row);
    }
    people.add_unlisted(&mut listed.rows, complete);
    listed.rows.retain(|row| want.wants(row));
    Ok(listed)
}

/// Every descriptor of a socket, and if asked of a pipe.
fn held(walk: &mut Holders, pipes: bool) -> io::Result<(Vec<Holder>, Walked)> {
    let mut held = Vec::new();
    let walked = walk.each(|holder| {
        if pipes || matches!(holder.held, Held::Socket(_)) {
            held.push(holder);
        }
    })?;
    Ok((held, walked))
}

/// What is known of sockets without a holder.
#[derive(Debug, Default)]
struct Searched {
    elsewhere: Elsewhere,
    /// How many there are in each namespace that are in no ring.
    unexplained: HashMap<u32, u64>,
}

impl Searched {
    fn class(&self, found: &Found) -> Class {
        let unexplained = self.unexplained.get(&found.netns);
        let unexplained = unexplained.copied().unwrap_or_default();
        self.elsewhere.class(found.netns, found.inode, unexplained)
    }

    fn count(&mut self, found: &[Found], people: &People) {
        for row in nobodys(found, people) {
            if !self.elsewhere.is_direct(row.inode) {
                *self.unexplained.entry(row.netns).or_default() += 1;
            }
        }
    }
}

/// Looks for sockets that nobody seems to hold. Where there are none, this costs nothing.
fn search(
    walk: &mut Holders,
    people: &mut People,
    found: &[Found],
    namespaces: &mut Namespaces,
    want: &Want,
) -> io::Result<Searched> {
    let mut searched = Searched::default();
    let missing: Inodes = nobodys(found, people).map(|row| row.inode).collect();
    if missing.is_empty() {
        return Ok(searched);
    }
    // Those that were opened after the first walk have holders by now.
    let (held, _) = held(walk, true)?;
    let late = held.iter().filter(|it| missing.contains(it.inode));
    people.add(late.copied());
    // Who wants what a process holds wants none of the others.
    if want.wants_holders() || nobodys(found, people).next().is_none() {
        return Ok(searched);
    }
    searched.elsewhere = Elsewhere::look(&held)?;
    let netns: Vec<_> = nobodys(found, people)
        .map(|row| row.netns)
        .filter(|&netns| searched.elsewhere.queued(netns) > 0)
        .collect();
    if want.protocols.is_empty() || netns.is_empty() {
        searched.count(found, people);
    } else {
        // What waits in a queue can be of a protocol that was not asked for.
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        let everything = Want {
            netns,
            ..Want::default()
        };
        dump(namespaces, &everything, &mut all, &mut notes);
        searched.count(&all, people);
    }
    Ok(searched)
}

/// Sockets that have a file and no holder, but not our own.
fn nobodys<'a>(found: &'a [Found], people: &'a People) -> impl Iterator<Item = &'a Found> {
    found.iter().filter(|row| {
        Class::of(row, people.inodes()) == Class::NoDescriptor && !asks_for_sockets(row)
    })
}

fn dump(namespaces: &mut Namespaces, want: &Want, found: &mut Vec<Found>, notes: &mut Vec<String>) {
    let extras = Extras {
        tcp: true,
        memory: false,
    };
    let mut buffer = Buffer::default();
    for namespace in namespaces.iter_mut() {
        if !want.netns.is_empty() && !want.netns.contains(&namespace.inum()) {
            continue;
        }
        for protocol in Protocols::ALL {
            if !one_of(&want.protocols, Some(&protocol.rows())) {
                continue;
            }
            let query = Query::all(protocol).with(extras);
            match namespace.dump(query, &mut buffer, |row| found.push(row)) {
                Ok(_) | Err(DiagError::Unsupported) => {}
                Err(error) => {
                    let inum = namespace.inum();
                    notes.push(format!(
                        "{protocol:?} of namespace {inum} is not listed: {error}"
                    ));
                }
            }
        }
    }
    // A dump is not taken in one moment: a socket that moves can be in it twice.
    found.sort_by_key(|row| row.cookie);
    found.dedup_by_key(|row| row.cookie);
}

/// Is it a netlink socket of those that list sockets (`NETLINK_SOCK_DIAG`)?
fn asks_for_sockets(found: &Found) -> bool {
    matches!(found.detail, Detail::Netlink { protocol: 4, .. })
}

fn listeners(found: &[Found]) -> Listeners {
    let listening = found
        .iter()
        .filter(|row| row.state == State::Tcp(TcpState::Listen));
    listening
        .filter_map(|row| Some((row.netns, row.local.port?)))
        .collect()
}
