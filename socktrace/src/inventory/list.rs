//! Takes the lists: holders first, then every namespace's sockets, and puts them together.

use std::{io, sync::Arc};

use hashbrown::HashMap;
use socktrace_common::socket::TcpState;

use super::{
    Row, Want,
    row::{Holding, Listeners, role},
    want::one_of,
};
use crate::{
    probe::offsets::KernelTypes,
    process::{Details, Process, read_comm, read_details},
    source::snapshot::{
        Buffer, Detail, DiagError, Extras, Found, Held, Holder, Holders, Namespaces, Protocols,
        Query, State,
        class::{Class, Inodes, Unlisted},
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
    let held = held(types, &mut listed.notes)?;
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
    let listeners = listeners(&found);
    for found in found {
        let class = Class::of(&found, &people.inodes);
        if class == Class::NoDescriptor && asks_for_sockets(&found) {
            // Opened after the descriptors were listed: by us, to ask.
            continue;
        }
        listed
            .rows
            .push(people.row(found, class.word(), &listeners));
    }
    people.add_unlisted(&mut listed.rows);
    listed.rows.retain(|row| want.wants(row));
    Ok(listed)
}

/// Every descriptor of a socket.
fn held(types: Option<&KernelTypes>, notes: &mut Vec<String>) -> io::Result<Vec<Holder>> {
    let mut held = Vec::new();
    let mut holders = types.map_or_else(Holders::from_proc, Holders::new);
    let walked = holders.each(|holder| {
        if matches!(holder.held, Held::Socket(_)) {
            held.push(holder);
        }
    })?;
    if walked.unreadable > 0 {
        notes.push(format!(
            "{} processes do not show their descriptors: their sockets have no holders here \
             (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show all)",
            walked.unreadable
        ));
    }
    Ok(held)
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

/// Who holds what.
struct People {
    by_inode: HashMap<u32, Vec<Holder>>,
    inodes: Inodes,
    /// By number and start.
    processes: HashMap<(u32, Option<u64>), Arc<Process>>,
    details: bool,
}

impl People {
    fn new(held: Vec<Holder>, details: bool) -> Self {
        let mut people = Self {
            by_inode: HashMap::new(),
            inodes: Inodes::default(),
            processes: HashMap::new(),
            details,
        };
        for holder in held {
            people.inodes.insert(holder.inode);
            people
                .by_inode
                .entry(holder.inode)
                .or_default()
                .push(holder);
        }
        people
    }

    fn row(&mut self, found: Found, class: Option<&'static str>, listeners: &Listeners) -> Row {
        let mut held = self.by_inode.remove(&found.inode).unwrap_or_default();
        held.sort_unstable_by_key(|holder| (holder.pid, holder.fd));
        let holders: Vec<_> = held
            .iter()
            .map(|holder| Holding {
                process: self.process(holder),
                fd: holder.fd,
            })
            .collect();
        Row {
            role: role(&found, listeners),
            owner: holders.first().map(|it| Arc::clone(&it.process)),
            found,
            class,
            holders,
        }
    }

    /// Sockets that processes hold and no dump shows: never bound, or over and still open.
    fn add_unlisted(&mut self, rows: &mut Vec<Row>) {
        let mut left: Vec<_> = self.by_inode.keys().copied().collect();
        left.sort_unstable();
        for inode in left {
            let open = self.by_inode[&inode]
                .iter()
                .find_map(|holder| match holder.held {
                    Held::Socket(open) => open,
                    Held::Pipe { .. } => None,
                });
            let Some(found) = open.and_then(|open| Found::unlisted(&open, inode)) else {
                continue;
            };
            let class = match Unlisted::of(open.as_ref()) {
                Unlisted::Idle => "idle",
                Unlisted::Dead => "dead",
                Unlisted::Unbound => "unbound",
                Unlisted::Other | Unlisted::Unknown => continue,
            };
            rows.push(self.row(found, Some(class), &Listeners::new()));
        }
    }

    fn process(&mut self, holder: &Holder) -> Arc<Process> {
        let pid = holder.pid;
        let key = (pid, holder.start_ns);
        let details = self.details;
        Arc::clone(self.processes.entry(key).or_insert_with(|| {
            let mut process = Process {
                start_ns: holder.start_ns,
                ..Process::new(pid)
            };
            let found = if details {
                read_details(pid)
            } else {
                Details::default()
            };
            // Else it has ended meanwhile, and the number is another's.
            if found.started.is_none_or(|it| process.may_have(it)) {
                process.comm = read_comm(pid);
                process.details = found;
            }
            Arc::new(process)
        }))
    }
}
