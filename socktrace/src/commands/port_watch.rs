//! Looks at ports again and again, to say how fast they go.

use std::{
    io,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep_until,
};

use crate::{
    ports::{Blocked, Blocking, Kind, Release, Row, Seen, Trends, blockers, blocking, rows},
    probe::offsets,
    process::read_comm,
    sink::ports::Names,
    source::snapshot::{
        Buckets, Held, Holder, Holders, Namespaces, bound_sockets_are_listed, look_at_ports,
    },
};

/// Looks are at least this far apart, and take at most a twentieth of the time.
const SOONEST: Duration = Duration::from_secs(1);
/// And at most this far.
const LATEST: Duration = Duration::from_secs(5);

/// What was seen in a look.
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) blocking: Vec<Blocking>,
    pub(super) names: Names,
    pub(super) notes: Vec<String>,
}

/// Looks again and again.
pub(super) struct PortWatch {
    netns: Vec<u32>,
    holders: Holders,
    namespaces: Namespaces,
    buckets: Option<Buckets>,
    release: Release,
    /// The kernel lists sockets that are bound and not connected.
    lists_bound: bool,
    /// What is assumed or missing in every row, for people.
    notes: Vec<String>,
    /// Blocked ports by namespace, as of the last look.
    before: HashMap<u32, Blocked>,
    trends: Trends,
    began: Instant,
}

impl PortWatch {
    /// For these namespaces, or all.
    pub(super) fn new(netns: Vec<u32>) -> io::Result<Self> {
        let mut notes = Vec::new();
        let types = offsets::read();
        let buckets = match &types {
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
        let recover = types.as_ref().is_ok_and(|types| types.buckets_recover);
        // It cannot be tried where no port is left; who has the later thing has this one too.
        let lists_bound = bound_sockets_are_listed().unwrap_or(recover);
        if !lists_bound {
            notes.push(
                "this kernel does not list sockets that are bound and not connected (6.8 does): \
                 their ports are counted as left"
                    .to_owned(),
            );
        }
        let mut watch = Self {
            netns,
            holders: match &types {
                Ok(types) => Holders::new(types),
                Err(_) => Holders::from_proc(),
            },
            namespaces: Namespaces::new(),
            buckets: buckets.ok(),
            release: if recover {
                Release::LastExplicit
            } else {
                Release::LastOwner
            },
            lists_bound,
            notes,
            before: HashMap::new(),
            trends: Trends::default(),
            began: Instant::now(),
        };
        watch.walk()?;
        Ok(watch)
    }

    /// Who holds what, and which namespaces that leads to; also whether all of it was seen.
    fn walk(&mut self) -> io::Result<(HashMap<u32, u32>, Option<String>)> {
        let (mut by_inode, mut leads): (HashMap<u32, u32>, Vec<_>) = Default::default();
        let mut seen = HashSet::new();
        let walked = self.holders.each(|holder: Holder| {
            if matches!(holder.held, Held::Socket(_)) {
                let pid = by_inode.entry(holder.inode).or_insert(holder.pid);
                *pid = holder.pid.min(*pid);
                // One way into each is enough.
                leads.extend(holder.lead().filter(|lead| seen.insert(lead.netns)));
            }
        })?;
        self.namespaces.refresh(leads)?;
        let note = (walked.unreadable > 0).then(|| {
            format!(
                "{} processes do not show their descriptors: their ports are nobody's here \
                 (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show all)",
                walked.unreadable
            )
        });
        Ok((by_inode, note))
    }

    fn look(&mut self, notes: &mut Vec<String>) -> io::Result<Vec<Seen>> {
        let wanted = &self.netns;
        let looks = look_at_ports(&mut self.namespaces, self.buckets.as_mut(), |netns| {
            wanted.is_empty() || wanted.contains(&netns)
        })?;
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
        Ok(all)
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Looks until the time is over or somebody is in a hurry.
    pub(super) fn wait(&mut self, duration: Duration) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let end = Instant::now() + duration;
            loop {
                let began = Instant::now();
                let now = self.seconds();
                let seen = self.look(&mut Vec::new())?;
                let rows = seen.iter().flat_map(|seen| {
                    let pool = seen.pool();
                    rows(seen.netns, &pool, &blockers(&pool), |_| None)
                });
                self.trends.see(now, &rows.collect::<Vec<_>>());
                let pause = (began.elapsed() * 20).clamp(SOONEST, LATEST);
                let next = began + pause.min(duration / 5);
                if next >= end {
                    break;
                }
                tokio::select! {
                    () = sleep_until(next.into()) => {}
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                }
            }
            tokio::select! {
                () = sleep_until(end.into()) => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok(())
        })
    }

    /// The last look, with who has what.
    pub(super) fn report(&mut self) -> io::Result<Report> {
        let (holders, unreadable) = self.walk()?;
        let mut notes = self.notes.clone();
        let owners = unreadable.is_none();
        notes.extend(unreadable);
        let now = self.seconds();
        let seen = self.look(&mut notes)?;
        let wanted = |netns| self.netns.is_empty() || self.netns.contains(&netns);
        let skipped = self.namespaces.skipped().iter();
        notes.extend(
            skipped.filter(|it| wanted(it.inum)).map(|skipped| {
                format!("namespace {} is not seen: {}", skipped.inum, skipped.reason)
            }),
        );
        let holder = |inode| holders.get(&inode).copied();
        let (mut all, mut why) = (Vec::new(), Vec::new());
        for seen in &seen {
            let pool = seen.pool();
            let blockers = blockers(&pool);
            let mut rows = rows(seen.netns, &pool, &blockers, holder);
            for row in &mut rows {
                let lists = self.lists_bound || matches!(row.kind, Kind::Udp(_));
                row.complete = lists && owners && seen.is_complete(row.kind);
            }
            all.extend(rows);
            why.extend(blocking(seen.netns, &blockers, holder));
        }
        self.trends.see(now, &all);
        for row in &mut all {
            row.eta_seconds = self.trends.eta(row);
        }
        let pids = all.iter().flat_map(|row| &row.owners);
        let pids: HashSet<_> = pids.filter_map(|owner| owner.pid).collect();
        let named = pids.into_iter();
        Ok(Report {
            names: named
                .filter_map(|pid| Some((pid, read_comm(pid)?)))
                .collect(),
            rows: all,
            blocking: why,
            notes,
        })
    }
}
