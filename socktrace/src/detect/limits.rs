//! Every limit that applies, whether or not it is near.

use std::sync::Arc;

use super::{Filled, Kind, World};
use crate::process::Process;

/// One limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is limited; the words are those of findings where there is one for it.
    pub kind: &'static str,
    /// Inode number of the network namespace, where each has its own.
    pub netns: Option<u32>,
    /// Whose limit it is.
    pub process: Option<Arc<Process>>,
    /// More of whose it is: a port, a destination.
    pub place: Option<String>,
    /// What there is.
    pub used: u64,
    /// What there may be; `None` for what is only worth knowing.
    pub limit: Option<u64>,
    /// Seconds until there is no more, if it goes on like this.
    pub eta_seconds: Option<f64>,
}

impl Limit {
    /// From 0 to 1, and beyond.
    pub fn ratio(&self) -> Option<f64> {
        let limit = self.limit?;
        let used = self.used;
        Some(Filled { used, limit }.ratio())
    }
}

/// All limits, the nearest first. `inodes`: how many the machine has in memory.
pub fn limits(world: &World, inodes: Option<u64>) -> Vec<Limit> {
    let mut rows = Vec::new();
    let mut of = |kind, netns, process, place, filled: Filled, eta_seconds| {
        rows.push(Limit {
            kind,
            netns,
            process,
            place,
            used: filled.used,
            limit: Some(filled.limit),
            eta_seconds,
        });
    };
    if let Some(files) = world.files {
        of(Kind::FileTable.word(), None, None, None, files, None);
    }
    if let Some(orphans) = world.orphans {
        of(Kind::Orphan.word(), None, None, None, orphans, None);
    }
    for it in &world.descriptors {
        let process = Some(Arc::clone(&it.process));
        let kind = Kind::FdLimit.word();
        of(kind, None, process, None, it.filled, it.eta_seconds);
    }
    for it in &world.listeners {
        let port = it.local.port.map(|port| format!("port {port}"));
        let kind = Kind::AcceptQueue.word();
        of(kind, Some(it.netns), it.owner.clone(), port, it.queue, None);
    }
    for (netns, filled) in &world.conntrack {
        of(
            Kind::Conntrack.word(),
            Some(*netns),
            None,
            None,
            *filled,
            None,
        );
    }
    for (netns, filled) in &world.tw_buckets {
        of(
            Kind::TimeWait.word(),
            Some(*netns),
            None,
            None,
            *filled,
            None,
        );
    }
    for row in &world.ports {
        let filled = Filled {
            used: u64::from(row.ports.used),
            limit: u64::from(row.ports.eligible),
        };
        let place = match row.kind.remote() {
            Some((address, port)) => format!("to {address} port {port}"),
            None => "for any destination".to_owned(),
        };
        let kind = Kind::PortExhaustion.word();
        of(
            kind,
            Some(row.netns),
            None,
            Some(place),
            filled,
            row.eta_seconds,
        );
    }
    let key = |row: &Limit| row.ratio().unwrap_or_default();
    rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
    if let Some(used) = inodes {
        rows.push(Limit {
            kind: "inode_table",
            netns: None,
            process: None,
            place: None,
            used,
            limit: None,
            eta_seconds: None,
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn the_nearest_comes_first_and_what_has_no_limit_last() {
        let world = World {
            files: Some(Filled {
                used: 10,
                limit: 100,
            }),
            conntrack: vec![(
                7,
                Filled {
                    used: 90,
                    limit: 100,
                },
            )],
            listeners: vec![listener(50, 100)],
            ..World::default()
        };
        let rows = limits(&world, Some(3));
        let kinds: Vec<_> = rows.iter().map(|row| row.kind).collect();
        assert_eq!(
            kinds,
            ["conntrack", "accept_queue", "file_table", "inode_table"]
        );
        assert_eq!(rows[0].ratio(), Some(0.9));
        assert_eq!(rows[3].ratio(), None);
    }
}
