//! Takes the lists: holders first, then every namespace's sockets, and puts them together.

use std::io;

use socktrace_common::socket::TcpState;

use super::{
    Row, Want,
    people::People,
    row::Listeners,
    search::{Searched, asks_for_sockets},
    want::one_of,
};
use crate::{
    probe::offsets::KernelTypes,
    source::snapshot::{
        Buffer, DiagError, Extras, Found, Held, Holder, Holders, Namespaces, Protocols, Query,
        State, States, Walked, class::Class,
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
    let notes = &mut listed.notes;
    dump(&mut namespaces, want, States::ALL, &mut found, notes);
    for skipped in namespaces.skipped() {
        let (inum, reason) = (skipped.inum, &skipped.reason);
        listed
            .notes
            .push(format!("namespace {inum} is not listed: {reason}"));
    }
    let mut people = People::new(held, details);
    let searched = Searched::new(&mut walk, &mut people, &mut namespaces, want, &mut found)?;
    let listeners = listeners(&found);
    for found in found {
        let class = match Class::of(&found, people.inodes()) {
            // Ours, to ask: it was opened after the descriptors were listed.
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
pub(super) fn held(walk: &mut Holders, pipes: bool) -> io::Result<(Vec<Holder>, Walked)> {
    let mut held = Vec::new();
    let walked = walk.each(|holder| {
        if pipes || matches!(holder.held, Held::Socket(_)) {
            held.push(holder);
        }
    })?;
    Ok((held, walked))
}

/// The rows of the namespaces and protocols that are wanted, each once; of TCP those in these states.
pub(super) fn dump(
    namespaces: &mut Namespaces,
    want: &Want,
    states: States,
    found: &mut Vec<Found>,
    notes: &mut Vec<String>,
) {
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
            let query = Query {
                states,
                ..Query::all(protocol).with(extras)
            };
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

fn listeners(found: &[Found]) -> Listeners {
    let listening = found
        .iter()
        .filter(|row| row.state == State::Tcp(TcpState::Listen));
    listening
        .filter_map(|row| Some((row.netns, row.local.port?)))
        .collect()
}
