//! Whose it is, as a label: a systemd unit, a container or a name. Their number is bounded: whoever
//! comes when there is no room counts among `other`, and who has not been seen for long makes room.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    field::printable,
    process::{Details, Process},
};

/// What the label `owner` says, the first of these that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// The systemd service; not the scope of a login.
    Unit,
    /// The first twelve digits of the container's identifier.
    Container,
    /// The pod's UID.
    Pod,
    /// The name of the process.
    Comm,
}

/// An owner: its place in lists of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub(super) usize);

impl Owner {
    /// What a list has for this owner.
    pub(super) fn entry<T: Default>(self, list: &mut Vec<T>) -> &mut T {
        if list.len() <= self.0 {
            list.resize_with(self.0 + 1, T::default);
        }
        &mut list[self.0]
    }
}

/// Those that find no room.
pub(super) const OTHER: Owner = Owner(0);
/// Those that are not known.
pub(super) const UNKNOWN: Owner = Owner(1);

/// Those that are known.
#[derive(Debug)]
pub struct Owners {
    naming: Vec<Naming>,
    most: usize,
    /// By place; `None` is free.
    names: Vec<Option<String>>,
    by_name: HashMap<String, Owner>,
    /// By number and start: what was asked once is not asked again.
    by_process: HashMap<(u32, Option<u64>), Owner>,
    /// Who was asked for last: a process comes several times in a row.
    last: Option<((u32, Option<u64>), Owner)>,
    ask: fn(u32) -> Details,
}

impl Owners {
    /// At most so many beside `other` and `unknown`. `ask`: what `/proc` says of a process.
    pub fn new(naming: Vec<Naming>, most: usize, ask: fn(u32) -> Details) -> Self {
        let mut owners = Self {
            naming,
            most,
            names: Vec::new(),
            by_name: HashMap::new(),
            by_process: HashMap::new(),
            last: None,
            ask,
        };
        for name in ["other", "unknown"] {
            owners.add(name.to_owned());
        }
        owners
    }

    /// Whose process it is.
    pub fn of(&mut self, process: Option<&Process>) -> Owner {
        let Some(process) = process else {
            return UNKNOWN;
        };
        let key = (process.pid, process.start_ns);
        if let Some((last, owner)) = self.last
            && last == key
        {
            return owner;
        }
        let owner = if let Some(owner) = self.by_process.get(&key) {
            *owner
        } else {
            let owner = self.named(process);
            self.by_process.insert(key, owner);
            owner
        };
        self.last = Some((key, owner));
        owner
    }

    /// Whose process it is, if somebody has asked for it before, or for another of theirs.
    pub(super) fn known(&self, process: &Process) -> Option<Owner> {
        self.by_process
            .get(&(process.pid, process.start_ns))
            .copied()
    }

    fn named(&mut self, process: &Process) -> Owner {
        let asked;
        let details = if process.details == Details::default() {
            asked = (self.ask)(process.pid);
            &asked
        } else {
            &process.details
        };
        let mut names = self.naming.iter();
        let Some(name) = names.find_map(|it| it.name(process, details)) else {
            return UNKNOWN;
        };
        if let Some(owner) = self.by_name.get(&name) {
            return *owner;
        }
        if self.by_name.len() >= self.most + 2 {
            return OTHER;
        }
        self.add(name)
    }

    fn add(&mut self, name: String) -> Owner {
        let free = self.names.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.names.push(None);
            self.names.len() - 1
        });
        self.names[place] = Some(name.clone());
        self.by_name.insert(name, Owner(place));
        Owner(place)
    }

    /// Processes that are gone are forgotten, and with them owners that are not `alive` any more.
    /// What was counted for them goes: the series end.
    pub fn forget(&mut self, exists: impl Fn(u32) -> bool, alive: impl Fn(Owner) -> bool) {
        self.last = None;
        self.by_process.retain(|(pid, _), _| exists(*pid));
        // Whoever found no room may find some now.
        self.by_process.retain(|_, owner| *owner != OTHER);
        let held: hashbrown::HashSet<_> = self.by_process.values().copied().collect();
        let names = &mut self.names;
        self.by_name.retain(|_, owner| {
            let stays = *owner <= UNKNOWN || held.contains(owner) || alive(*owner);
            if !stays {
                names[owner.0] = None;
            }
            stays
        });
    }

    /// Owners with their names, by place; `None` is free.
    pub fn names(&self) -> &[Option<String>] {
        &self.names
    }
}

impl Naming {
    fn name(self, process: &Process, details: &Details) -> Option<String> {
        match self {
            // A login has a scope of its own, and what runs in it has better names.
            Self::Unit => details
                .unit()
                .filter(|unit| {
                    unit.rsplit_once('.')
                        .is_none_or(|(_, kind)| kind != "scope")
                })
                .map(str::to_owned),
            Self::Container => details.container.as_deref().map(|id| id[..12].to_owned()),
            Self::Pod => details.pod(),
            Self::Comm => process.comm.map(|comm| printable(&comm.text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Comm;

    fn process(pid: u32, comm: &str) -> Process {
        Process {
            comm: Some(Comm::from(comm.as_bytes())),
            details: Details {
                uid: Some(0),
                ..Details::default()
            },
            ..Process::new(pid)
        }
    }

    fn owners(most: usize) -> Owners {
        Owners::new(vec![Naming::Unit, Naming::Comm], most, |_| {
            Details::default()
        })
    }

    #[test]
    fn who_finds_no_room_is_other_until_somebody_goes() {
        let mut owners = owners(1);
        let nginx = owners.of(Some(&process(1, "nginx")));
        assert_eq!(owners.of(Some(&process(2, "nginx"))), nginx);
        assert_eq!(owners.of(Some(&process(3, "curl"))), OTHER);
        assert_eq!(owners.of(None), UNKNOWN);
        owners.forget(|pid| pid == 3, |_| true);
        assert_eq!(owners.of(Some(&process(3, "curl"))), OTHER);
        owners.forget(|pid| pid == 3, |owner| owner != nginx);
        let curl = owners.of(Some(&process(3, "curl")));
        assert_eq!(curl, nginx, "its place is used again");
        let names: Vec<_> = owners.names().iter().flatten().collect();
        assert_eq!(names, ["other", "unknown", "curl"]);
    }

    #[test]
    fn a_service_is_a_better_name_than_its_process_and_a_login_is_not() {
        let mut owners = owners(9);
        let mut server = process(1, "nginx");
        server.details.cgroup = Some("/system.slice/web.service".into());
        owners.of(Some(&server));
        let mut person = process(2, "curl");
        person.details.cgroup = Some("/user.slice/user-1.slice/session-3.scope".into());
        owners.of(Some(&person));
        let names: Vec<_> = owners.names().iter().flatten().skip(2).collect();
        assert_eq!(names, ["web.service", "curl"]);
    }
}
