//! Snapshots of what is open: one when a run begins, more while it lasts.

use std::{io, sync::mpsc, thread, time::Duration};

use hashbrown::HashMap;
use socktrace_common::config::{ONLY_IPV4, ONLY_IPV6};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep_until},
};

use super::{
    look::{Listing, Look, Seen},
    selection::family,
    sighted::{Followed, Left, Sighting},
    survey::{Surveyor, with_slack},
    tell,
};
use crate::{
    clock::{cpu_time, monotonic_ns},
    detect,
    inventory::{Missing, Want, each},
    pipeline::Pipeline,
    probe::{Plan, Probes, attach::Status},
    process::Ask,
    source::{
        Item,
        snapshot::{Holders, Namespaces, Protocol},
    },
};

/// Snapshots may take this part of one CPU; then the next one waits longer.
const SHARE: f64 = 0.02;
/// After a loss one comes this soon.
const REPAIR_AFTER: Duration = Duration::from_secs(1);

/// What can leak, and what descriptors travel in.
const OF_LEAKS: [Protocol; 7] = [
    Protocol::Tcp,
    Protocol::Mptcp,
    Protocol::Udp,
    Protocol::UdpLite,
    Protocol::Raw,
    Protocol::Unix,
    Protocol::Pipe,
];

/// Takes snapshots in a thread of its own: the ring must be emptied meanwhile.
pub(super) struct Snapshots {
    ask: mpsc::Sender<Job>,
    taken: UnboundedReceiver<Taken>,
    /// The first has not been taken yet.
    first: bool,
    /// How far apart, if any more are wanted.
    every: Option<Duration>,
    /// They may take this part of one CPU.
    share: f64,
    /// The earliest time for the next one.
    not_before: Instant,
    /// When the next one is due; `None` while one is being taken.
    due: Option<Instant>,
    /// When the last one was taken in.
    taken_in: Option<Instant>,
}

/// What the thread is asked for.
enum Job {
    /// A snapshot.
    Snapshot,
    /// A list for somebody else; it goes to whoever asked.
    List(Box<Listing>),
}

/// A snapshot.
pub(super) struct Taken {
    /// What was found.
    rows: Vec<Sighting>,
    /// And what is left of connections.
    left: Vec<Left>,
    /// The same for whoever looks for leaks, if anybody does.
    seen: Option<Box<Seen>>,
    /// What could not be looked at.
    missing: io::Result<Missing>,
    /// Of a CPU's time; on a machine that is busy otherwise it is longer by the clock.
    took: Duration,
}

/// What to do next.
pub(super) enum Step {
    /// Begin a snapshot.
    Begin,
    /// Take in the one that was begun.
    Take(Taken),
}

impl Snapshots {
    /// For a run that follows `plan`; `every` so often after the first. `look`: who looks for leaks.
    pub(super) fn new(
        probes: &Probes,
        plan: &Plan,
        every: Option<Duration>,
        look: Option<&(dyn Look + '_)>,
    ) -> Self {
        let looking = look.is_some();
        let mut surveyor = look.map(|it| Surveyor::new(&probes.types, it.netns().to_vec()));
        let want = Want {
            protocols: if looking {
                OF_LEAKS.to_vec()
            } else {
                followed_protocols(plan)
            },
            memory: looking,
            // As the kernel side drops what else happens there.
            local_ports: plan.local_ports.clone(),
            remote_ports: plan.remote_ports.clone(),
            family: family(
                plan.families & ONLY_IPV4 != 0,
                plan.families & ONLY_IPV6 != 0,
            ),
            ..Want::default()
        };
        let mut holders = Holders::new(&probes.types);
        let (ask, asked) = mpsc::channel();
        let (taken, receiver) = unbounded_channel();
        let enter = look.map_or((|| ()) as fn(), Look::enter);
        // Ends with the run: nobody asks any more then.
        let thread = thread::Builder::new().name("snapshots".to_owned());
        let started = thread.spawn(move || {
            enter();
            // A list that grows is there twice.
            let (mut rows_before, mut left_before) = (0, 0);
            while let Ok(job) = asked.recv() {
                let began = cpu_time();
                // They are closed again at once: what is open keeps a namespace alive.
                let mut namespaces = Namespaces::new();
                if let Job::List(listing) = job {
                    listing.answer(&mut holders, &mut namespaces);
                    continue;
                }
                let mut rows = Vec::with_capacity(with_slack(rows_before));
                let mut left = Vec::with_capacity(with_slack(left_before));
                let mut seen = looking.then(Box::<Seen>::default);
                let mut owners = HashMap::new();
                // Whoever is new is looked up when it is taken in.
                let missing = each(&mut holders, &mut namespaces, &want, Ask::Nothing, |row| {
                    if let Some(sighting) = Sighting::new(&row) {
                        match Left::new(&sighting.adopted) {
                            Some(what) => left.push(what),
                            None => rows.push(sighting),
                        }
                    }
                    if let Some(seen) = &mut seen {
                        owners.extend(row.owner.as_ref().map(|it| (row.found.inode, it.pid)));
                        let now = monotonic_ns();
                        seen.sightings.extend(detect::Sighting::of(&row, now));
                    }
                });
                (rows_before, left_before) = (rows.len(), left.len());
                let ends = (&mut surveyor, &mut seen, &missing);
                let mut elsewhere = Duration::ZERO;
                if let (Some(surveyor), Some(seen), Ok(missing)) = ends {
                    let whole = missing.unreadable == 0;
                    seen.survey = surveyor.survey(&mut namespaces, &owners, whole);
                    elsewhere = seen.survey.took;
                }
                let snapshot = Taken {
                    rows,
                    left,
                    seen,
                    missing,
                    took: cpu_time().saturating_sub(began) + elsewhere,
                };
                if taken.send(snapshot).is_err() {
                    return;
                }
            }
        });
        if let Err(error) = started {
            tell(format_args!("what is open cannot be listed: {error}"));
        }
        let now = Instant::now();
        Self {
            ask,
            taken: receiver,
            first: true,
            every,
            // A part of none would be never.
            share: look.map_or(SHARE, Look::share).clamp(0.000_1, 1.0),
            not_before: now,
            due: every.map(|every| now + every),
            taken_in: None,
        }
    }

    /// What is open before the first record is taken from the ring. Everything is attached, so
    /// what happens meanwhile waits there: nothing is missed in between.
    pub(super) async fn first(
        &mut self,
        probes: &mut Probes,
        plan: &Plan,
        pipeline: &mut Pipeline,
        look: Option<&mut (dyn Look + '_)>,
    ) -> io::Result<()> {
        self.begin(pipeline)?;
        match self.taken.recv().await {
            Some(taken) => self.take(taken, probes, plan, pipeline, look),
            None => Ok(()),
        }
    }

    /// Is one being taken?
    pub(super) fn is_under_way(&self) -> bool {
        self.due.is_none() && self.every.is_some()
    }

    /// Has one just been taken in?
    pub(super) fn is_recent(&self) -> bool {
        self.taken_in.is_some_and(|at| at.elapsed() < REPAIR_AFTER)
    }

    /// Waits for the one that is under way. May be dropped while it waits.
    pub(super) async fn taken(&mut self) -> Option<Taken> {
        self.taken.recv().await
    }

    /// Waits until one has been taken or the next is due; `hurry` after a loss. May be dropped
    /// while it waits.
    pub(super) async fn next(&mut self, hurry: bool) -> Step {
        let due = match self.due {
            Some(due) if hurry => Some(due.min(self.not_before)),
            due => due,
        };
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Step::Begin,
            Some(taken) = self.taken.recv() => Step::Take(taken),
            else => std::future::pending().await,
        }
    }

    /// Begins one. The ring is empty.
    pub(super) fn begin(&mut self, pipeline: &mut Pipeline) -> io::Result<()> {
        self.due = None;
        pipeline.take(&Item::SnapshotBegins(monotonic_ns()))?;
        self.ask.send(Job::Snapshot).map_err(io::Error::other)
    }

    /// Has a list made for somebody else, by the thread that may look everywhere.
    pub(super) fn list(&self, listing: Box<Listing>) {
        // Without the thread there is no answer, which whoever asked notices.
        self.ask.send(Job::List(listing)).unwrap_or_default();
    }

    /// Takes one in, and has the kernel side follow what is new among the followed processes'
    /// sockets. The ring is empty, but for the first.
    pub(super) fn take(
        &mut self,
        taken: Taken,
        probes: &mut Probes,
        plan: &Plan,
        pipeline: &mut Pipeline,
        look: Option<&mut (dyn Look + '_)>,
    ) -> io::Result<()> {
        let began = cpu_time();
        let took = taken.took;
        let outcome = self.take_in(taken, probes, plan, pipeline, look);
        // What it takes to understand it counts, too.
        let took = took + cpu_time().saturating_sub(began);
        let now = Instant::now();
        self.taken_in = Some(now);
        self.not_before = now + took.div_f64(self.share).max(REPAIR_AFTER);
        self.due = self.every.map(|every| self.not_before.max(now + every));
        outcome
    }

    fn take_in(
        &mut self,
        taken: Taken,
        probes: &mut Probes,
        plan: &Plan,
        pipeline: &mut Pipeline,
        look: Option<&mut (dyn Look + '_)>,
    ) -> io::Result<()> {
        let notes = match taken.missing {
            Ok(missing) => missing.notes,
            Err(error) => {
                tell(format_args!("what is open is not known: {error}"));
                return pipeline.take(&Item::SnapshotEnds { whole: false });
            }
        };
        if self.first {
            notes.iter().for_each(tell);
            self.first = false;
        }
        let pids = plan.pids.is_some().then(|| probes.followed());
        let wanted = Followed::new(pids.as_ref(), &taken.rows);
        let own = std::process::id();
        for row in taken.rows.iter().filter(|row| !row.is_ours(own)) {
            let adopted = &row.adopted;
            let known = pipeline.table().contains(adopted.socket.id);
            if !known && !wanted.has(row) {
                continue;
            }
            if !known
                && plan.lives > 0
                && let Some(life) = probes.life(adopted.socket.id)
            {
                pipeline.preview(life, Some(&adopted.socket))?;
            }
            if !known && plan.pids.is_some() {
                probes.follow(adopted.socket.id, row.listens_at);
            }
            for &(pid, _) in &adopted.holders {
                if !pipeline.table().knows(pid) {
                    probes.knows(pid);
                }
            }
            pipeline.take(&Item::Adopted(adopted))?;
        }
        // It has had its life, and whose it was only the table can know.
        for left in &taken.left {
            if pids.is_none() || pipeline.table().contains(left.socket.id) {
                pipeline.take(&Item::Adopted(&left.adopted()))?;
            }
        }
        let whole = notes.is_empty();
        pipeline.take(&Item::SnapshotEnds { whole })?;
        if let (Some(look), Some(mut seen)) = (look, taken.seen) {
            (seen.took, seen.notes) = (taken.took, notes);
            let accepts = probes.hooks.iter().any(|(hook, status)| {
                hook.name == "sys_exit_accept4" && *status == Status::Attached
            });
            look.look(*seen, pipeline.table(), accepts);
        }
        Ok(())
    }
}

fn followed_protocols(plan: &Plan) -> Vec<Protocol> {
    let mut all = Protocol::ALL.to_vec();
    all.retain(|protocol| plan.protocols & protocol.bit() != 0);
    all
}
