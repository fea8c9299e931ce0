//! `ports`: which ephemeral ports are left, for how long, and who has the others.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep_until,
};

use super::{stdout, tell};
use crate::{
    cli::{Ports, PortsFormat},
    endpoint::Family,
    failure::{FAILURE, FINDINGS, Failure},
    ports::{
        Blocked, Blocking, Kind, Release, Row, Seen, Severity, Trends, blockers, blocking, rows,
    },
    probe::offsets,
    process::read_comm,
    sink::ports::{Names, write_blocking, write_json, write_table},
    source::snapshot::{
        Buckets, Held, Holder, Holders, Namespaces, bound_sockets_are_listed, look_at_ports,
    },
};

/// Looks are at least this far apart, and take at most a twentieth of the time.
const SOONEST: Duration = Duration::from_secs(1);
/// And at most this far.
const LATEST: Duration = Duration::from_secs(5);
/// Rows of a table, unless asked for more.
const TABLE_ROWS: usize = 20;

pub(super) fn ports(args: &Ports) -> Result<u8, Failure> {
    let mut watch = Watch::new(args)?;
    let lists = |error: io::Error| Failure::new(FAILURE, format!("ports cannot be seen: {error}"));
    if args.duration.is_zero() {
        tell("one look does not say how fast ports go; --duration 15s does");
    } else {
        if io::stderr().is_terminal() {
            tell(format_args!(
                "watching for {:?}, to say how fast ports go; Ctrl-C ends it",
                args.duration
            ));
        }
        watch.wait(args.duration).map_err(lists)?;
    }
    let mut report = watch.report().map_err(lists)?;
    report.notes.iter().for_each(tell);
    report.rows.retain(|row| wanted(args, row));
    sort(&mut report.rows);
    let worst = report.rows.iter().filter_map(Row::severity).max();
    write(args, &report)?;
    let bad = |least| worst.is_some_and(|worst| worst >= Severity::from(least));
    Ok(if args.fail_on.is_some_and(bad) {
        FINDINGS
    } else {
        0
    })
}

fn write(args: &Ports, report: &Report) -> Result<(), Failure> {
    let table = args.output == PortsFormat::Table;
    let most = match args.top {
        Some(0) => usize::MAX,
        Some(top) => top,
        None if table => TABLE_ROWS,
        None => usize::MAX,
    };
    let rows = &report.rows[..report.rows.len().min(most)];
    let (mut out, names) = (stdout(), &report.names);
    let written = match args.output {
        PortsFormat::Table => write_table(&mut out, rows, names, args.wide)
            .and_then(|()| write_blocking(&mut out, &report.blocking, names)),
        PortsFormat::Json => write_json(&mut out, rows, names, false),
        PortsFormat::JsonPretty => write_json(&mut out, rows, names, true),
    };
    super::quietly(written.and_then(|()| io::Write::flush(&mut out)))?;
    if report.rows.is_empty() {
        tell("no ephemeral port is used by what was asked for");
    } else if table && rows.len() < report.rows.len() {
        tell(format_args!(
            "{} more rows are less bad: -n 0 shows all",
            report.rows.len() - rows.len()
        ));
    }
    Ok(())
}

fn wanted(args: &Ports, row: &Row) -> bool {
    let owned = |pid: &u32| row.owners.iter().any(|owner| owner.pid == Some(*pid));
    let remote = |port: &u16| row.kind.remote().is_some_and(|(_, rport)| rport == *port);
    let of_family = |family| match row.kind.local() {
        Some(local) => local.is_ipv4() == (family == Family::Ipv4),
        None => true,
    };
    (args.pids.is_empty() || args.pids.iter().any(owned))
        && (args.remote_ports.is_empty() || args.remote_ports.iter().any(remote))
        && super::selection::family(args.ipv4, args.ipv6).is_none_or(of_family)
}

/// The worst first.
fn sort(rows: &mut [Row]) {
    let eta = |row: &Row| row.eta_seconds.unwrap_or(f64::INFINITY);
    rows.sort_by(|one, other| {
        let severity = other.severity().cmp(&one.severity());
        severity
            .then(other.ports.ratio().total_cmp(&one.ports.ratio()))
            .then(eta(one).total_cmp(&eta(other)))
            .then((one.netns, one.kind).cmp(&(other.netns, other.kind)))
    });
}

/// What is written.
struct Report {
    rows: Vec<Row>,
    blocking: Vec<Blocking>,
    names: Names,
    notes: Vec<String>,
}

/// Looks again and again.
struct Watch {
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

impl Watch {
    fn new(args: &Ports) -> Result<Self, Failure> {
        let netns = args.netns.iter().map(|name| super::selection::netns(name));
        let netns = netns.collect::<Result<_, _>>()?;
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
    fn wait(&mut self, duration: Duration) -> io::Result<()> {
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
    fn report(&mut self) -> io::Result<Report> {
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
