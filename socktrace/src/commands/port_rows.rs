//! From looks at ports to rows: what must be known of the kernel, and remembered between looks.

use std::{fmt::Display, io, time::Duration};

use hashbrown::{HashMap, HashSet};

use crate::{
    ports::{Blocked, Blocking, Release, Row, Seen, Socket, Trends, blockers, blocking, rows},
    probe::offsets::KernelTypes,
    process::read_comm,
    sink::ports::Names,
    source::snapshot::{Buckets, PortLook, bound_sockets_are_listed},
};

/// What stays between looks.
pub(super) struct PortRows {
    /// Reads which ports are blocked, where the kernel lets it.
    pub(super) buckets: Option<Buckets>,
    /// What is assumed in every row, for people.
    pub(super) notes: Vec<String>,
    release: Release,
    /// The kernel lists sockets that are bound and not connected.
    lists_bound: bool,
    /// Blocked ports by namespace, as of the last look.
    before: HashMap<u32, Blocked>,
    trends: Trends,
}

impl PortRows {
    /// Finds out what this kernel says of ports.
    pub(super) fn new<E: Display>(types: Result<&KernelTypes, &E>) -> Self {
        let mut notes = Vec::new();
        let buckets = match types {
            Ok(types) => Buckets::new(types).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let buckets = buckets.map_err(|error| {
            notes.push(format!(
                "the kernel does not say which ports are blocked ({error}): those of listeners \
                 and of sockets that are bound and not connected are counted, those that were \
                 bound before they were connected are not"
            ));
        });
        let recover = types.is_ok_and(|types| types.buckets_recover);
        // It cannot be tried where no port is left; who has the later thing has this one too.
        let lists_bound = bound_sockets_are_listed().unwrap_or(recover);
        if !lists_bound {
            notes.push(
                "this kernel does not list sockets that are bound and not connected (6.8 does): \
                 their ports are counted as left"
                    .to_owned(),
            );
        }
        Self {
            buckets: buckets.ok(),
            notes,
            release: if recover {
                Release::LastExplicit
            } else {
                Release::LastOwner
            },
            lists_bound,
            before: HashMap::new(),
            trends: Trends::default(),
        }
    }

    /// What looks brought. Notes tell of those that failed.
    pub(super) fn seen(
        &mut self,
        looks: Vec<(u32, io::Result<PortLook<Socket>>)>,
        notes: &mut Vec<String>,
    ) -> Vec<Seen> {
        let mut all = Vec::with_capacity(looks.len());
        for (netns, look) in looks {
            let seen = look.map_err(|error| error.to_string()).and_then(|look| {
                Seen::new(look, self.before.get(&netns), self.release)
                    .map_err(|error| format!("{} makes no sense", error.0))
            });
            match seen {
                Ok(seen) => {
                    self.before.insert(netns, seen.blocked.clone());
                    all.push(seen);
                }
                Err(error) => notes.push(format!("namespace {netns} is not seen: {error}")),
            }
        }
        all
    }

    /// The rows, with who has what and until when there are ports, and why others are blocked.
    /// `owners`: no process hides what it holds.
    pub(super) fn rows(
        &mut self,
        seen: &[Seen],
        holder: impl Fn(u32) -> Option<u32> + Copy,
        owners: bool,
    ) -> PortReport {
        // When sockets were listed, not when all of it is understood: on a busy machine that is later.
        let now = seen.iter().map(|it| it.at_ns).max().unwrap_or_default();
        let now = Duration::from_nanos(now).as_secs_f64();
        let (mut all, mut why) = (Vec::new(), Vec::new());
        for seen in seen {
            let pool = seen.pool();
            let blockers = blockers(&pool);
            let mut rows = rows(seen.netns, &pool, &blockers, holder);
            for row in &mut rows {
                let lists = self.lists_bound || matches!(row.kind, crate::ports::Kind::Udp(_));
                row.complete = lists && owners && seen.is_complete(row.kind);
            }
            all.extend(rows);
            why.extend(blocking(seen.netns, &blockers, holder));
        }
        self.trends.see(now, &all);
        for row in &mut all {
            row.eta_seconds = self.trends.eta(row);
        }
        let eligible = seen
            .iter()
            .map(|it| (it.netns, it.settings.eligible.count()));
        PortReport::new(all, why, eligible.collect())
    }
}

/// What was seen in a look.
#[derive(Clone, Debug, Default)]
pub(super) struct PortReport {
    pub(super) rows: Vec<Row>,
    pub(super) blocking: Vec<Blocking>,
    pub(super) names: Names,
    pub(super) notes: Vec<String>,
    /// How many ports may be chosen, by namespace, with or without rows.
    pub(super) eligible: Vec<(u32, u32)>,
}

impl PortReport {
    fn new(rows: Vec<Row>, blocking: Vec<Blocking>, eligible: Vec<(u32, u32)>) -> Self {
        let owners = rows.iter().flat_map(|row| &row.owners);
        let pids: HashSet<_> = owners.filter_map(|owner| owner.pid).collect();
        let named = pids.into_iter();
        let names = named.filter_map(|pid| Some((pid, read_comm(pid)?)));
        Self {
            names: names.collect(),
            rows,
            blocking,
            notes: Vec::new(),
            eligible,
        }
    }

    pub(super) fn with(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// What is of these namespaces, or all.
    pub(super) fn of(&self, netns: &[u32]) -> Self {
        let mut report = self.clone();
        if !netns.is_empty() {
            report.rows.retain(|row| netns.contains(&row.netns));
            report.blocking.retain(|it| netns.contains(&it.netns));
        }
        report
    }
}
