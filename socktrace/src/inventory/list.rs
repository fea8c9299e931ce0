//! Takes the lists: holders first, then every namespace's sockets, and puts them together.

use std::io;

use hashbrown::HashSet;
use socktrace_common::socket::TcpState;

use super::{
    Row, Want,
    people::People,
    row::Listeners,
    search::{Searched, asks_for_sockets},
    want::one_of,
};
use crate::{
    endpoint::protocol_word,
    probe::offsets::KernelTypes,
    process::Ask,
    source::snapshot::{
        Buffer, DiagError, Extras, Found, Held, Holder, Holders, Namespaces, Protocol, Protocols,
        Query, States, Walked, class::Class,
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

/// What could not be looked at.
#[derive(Debug, Default)]
pub struct Missing {
    /// All of it, for people.
    pub notes: Vec<String>,
    /// How many processes do not show their descriptors.
    pub unreadable: usize,
}

/// Lists what is open and wanted. `types` lets the kernel list descriptors; without, `/proc` does.
pub fn list(want: &Want, types: Option<&KernelTypes>, ask: Ask) -> io::Result<Listed> {
    let mut holders = types.map_or_else(Holders::from_proc, Holders::new);
    let (mut namespaces, mut rows) = (Namespaces::new(), Vec::new());
    let missing = each(&mut holders, &mut namespaces, want, ask, |row| {
        rows.push(row);
    })?;
    Ok(Listed {
        rows,
        notes: missing.notes,
    })
}

/// The same a row at a time, in no order, with a way to list descriptors that is used again: of
/// many rows few are here at once. Leaves the `namespaces` open that there are. Says what is missing.
pub fn each(
    holders: &mut Holders,
    namespaces: &mut Namespaces,
    want: &Want,
    ask: Ask,
    mut each: impl FnMut(Row),
) -> io::Result<Missing> {
    let mut each = |row: Row| {
        if want.wants(&row) {
            each(row);
        }
    };
    let mut notes = Vec::new();
    let (held, walked) = held(holders, want.wants_pipes())?;
    let complete = walked.unreadable == 0;
    if !complete {
        notes.push(format!(
            "{} processes do not show their descriptors: their sockets have no holders here \
             (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show all)",
            walked.unreadable
        ));
    }
    namespaces.refresh(held.iter().filter_map(Holder::lead))?;
    let listeners = listeners(namespaces, want);
    let mut people = People::new(held, ask);
    // A dump is not taken in one moment: a socket that moves can be in it twice.
    let mut seen = HashSet::new();
    let mut nobodys = Vec::new();
    let states = want.tcp_states();
    let unsupported = dump(namespaces, want, states, &mut notes, |found| {
        if found.cookie != 0 && !seen.insert(found.cookie) {
            return;
        }
        match Class::of(&found, people.inodes()) {
            // Ours, to ask: it was opened after the descriptors were listed.
            Class::NoDescriptor if asks_for_sockets(&found) => {}
            Class::NoDescriptor => nobodys.push(found),
            class => each(people.row(found, class.word(), &listeners)),
        }
    });
    drop(seen);
    for protocol in &unsupported {
        // Who asks for nothing in particular gets what there is; raw sockets have other ways.
        if want.protocols.contains(protocol) && *protocol != Protocol::Raw {
            notes.push(format!(
                "this kernel lists no {} sockets",
                protocol_word(*protocol)
            ));
        }
    }
    notes.extend(namespaces.notes("listed", |_| true));
    let searched = Searched::new(holders, &mut people, namespaces, want, &mut nobodys)?;
    for found in nobodys {
        let class = match Class::of(&found, people.inodes()) {
            Class::NoDescriptor => searched.class(&found),
            class => class,
        };
        let mut row = people.row(found, class.word(), &listeners);
        if class == Class::InFlight {
            row.receiver = searched.receiver(row.found.netns);
        }
        each(row);
    }
    people.each_unlisted(complete, unsupported.contains(&Protocol::Raw), each);
    let unreadable = walked.unreadable;
    Ok(Missing { notes, unreadable })
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

/// The rows of the namespaces and protocols that are wanted; of TCP those in these states. Returns
/// the protocols of which this kernel has no list.
pub(super) fn dump(
    namespaces: &mut Namespaces,
    want: &Want,
    states: States,
    notes: &mut Vec<String>,
    mut each: impl FnMut(Found),
) -> Vec<Protocol> {
    let extras = Extras {
        tcp: true,
        memory: want.memory,
    };
    let mut buffer = Buffer::default();
    let mut unsupported = Vec::new();
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
            match namespace.dump(query, &mut buffer, &mut each) {
                Ok(_) => {}
                Err(DiagError::Unsupported) => {
                    if !unsupported.contains(&protocol.rows()) {
                        unsupported.push(protocol.rows());
                    }
                }
                Err(error) => {
                    let inum = namespace.inum();
                    notes.push(format!(
                        "{protocol:?} of namespace {inum} is not listed: {error}"
                    ));
                }
            }
        }
    }
    unsupported
}

/// Where TCP listens: the kernel has its listeners in a table of their own, and a short one.
fn listeners(namespaces: &mut Namespaces, want: &Want) -> Listeners {
    let want = Want {
        protocols: vec![Protocol::Tcp],
        netns: want.netns.clone(),
        ..Want::default()
    };
    let mut listeners = Listeners::new();
    let states = States::none().with(TcpState::Listen);
    // What cannot be listed is told when everything is.
    dump(namespaces, &want, states, &mut Vec::new(), |row| {
        listeners.extend(row.local.port.map(|port| (row.netns, port)));
    });
    listeners
}
