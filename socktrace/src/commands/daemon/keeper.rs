//! The loop's part of the daemon: looks, remembers, publishes, and answers what only the table knows.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
};
use tracing::{error, info, warn};

use super::{hooks, memory::Memory, privileges, published::Published, site::Site};
use crate::{
    alert::Alerts,
    change::Change,
    clock::{Clock, monotonic_ns},
    commands::{
        footprint,
        look::{Look, Seen},
        question::Question,
        snapshots::Snapshots,
        watch::Watcher,
    },
    exporter::{Adder, AlertCounts, Owners, Reading, Seen as SeenByOwner, Tally},
    failure::Failure,
    http::{Running, Server},
    inventory::Told,
    pipeline::Pipeline,
    probe::Probes,
    process::read_details,
    sandbox::Files,
    settings::Configuration,
    sink::Sink,
    table::{Brief, Looks, SocketTable},
};

/// Owners of whom nothing was heard for so long make room.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// See the room.
pub(super) struct Keeper {
    watcher: Watcher<'static>,
    configuration: Configuration,
    alerts: Rc<RefCell<Alerts>>,
    tally: Rc<RefCell<Tally>>,
    /// What the last look saw, by owner.
    seen: Arc<SeenByOwner>,
    published: Arc<Mutex<Arc<Published>>>,
    questions: Option<UnboundedReceiver<Question>>,
    /// Until it is started.
    server: Option<Server>,
    running: Option<Running>,
    /// What it may open.
    files: Files,
    site: Arc<Site>,
    config_file: Option<PathBuf>,
    memory: Memory,
    clock: Clock,
    /// The allocator still has what a look took and nobody needs until the next.
    looked: bool,
}

/// What others see of it.
pub(super) struct Front {
    pub(super) server: Server,
    /// What it needs to be served.
    pub(super) files: Files,
    pub(super) config_file: Option<PathBuf>,
    pub(super) site: Arc<Site>,
    pub(super) published: Arc<Mutex<Arc<Published>>>,
    pub(super) questions: UnboundedReceiver<Question>,
}

impl Keeper {
    pub(super) fn new(
        watcher: Watcher<'static>,
        configuration: Configuration,
        alerts: Rc<RefCell<Alerts>>,
        front: Front,
        memory: Memory,
    ) -> Self {
        let owners = Owners::new(
            configuration.metrics.owner.clone(),
            configuration.metrics.owners,
            read_details,
        );
        Self {
            watcher,
            configuration,
            alerts,
            tally: Rc::new(RefCell::new(Tally::new(owners))),
            seen: Arc::default(),
            published: front.published,
            questions: Some(front.questions),
            server: Some(front.server),
            running: None,
            files: front.files,
            config_file: front.config_file,
            site: front.site,
            memory,
            clock: Clock::now(),
            looked: false,
        }
    }

    /// What must hear of every change.
    pub(super) fn sink(&self) -> Box<dyn Sink> {
        Box::new(Both(self.watcher.ears(), Adder(Rc::clone(&self.tally))))
    }

    /// The run is over.
    pub(super) fn stop(mut self) {
        notify(&[NotifyState::Stopping]);
        // Nobody is answered any more.
        drop(self.running.take());
        self.alerts.borrow_mut().finish();
        info!("stopped");
    }

    fn publish(&mut self, notes: Vec<String>) {
        let new = Published {
            stories: self.watcher.stories().into_iter().cloned().collect(),
            limits: self.watcher.limits(),
            ports: self.watcher.take_ports(),
            notes,
            growth_takes: self.configuration.detect.growth_takes(),
            clock: Some(self.clock),
        };
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }

    fn reading(&self, pipeline: &Pipeline, probes: &Probes) -> Reading {
        let now = monotonic_ns();
        // Not older than a second.
        let counters = pipeline.counters();
        let mut tally = self.tally.borrow_mut();
        let mut reading = Reading::take(now, &mut tally, pipeline.table(), &self.seen);
        reading.lost = vec![
            ("ring", counters.lost_ring),
            ("map", counters.lost_map),
            ("recursion", counters.recursion),
            ("decode", pipeline.undecodable()),
        ];
        reading.counters = Some(counters);
        reading.hooks = hooks::measured(probes);
        let alerts = self.alerts.borrow();
        let counts = alerts.counts().map(|(output, counts)| AlertCounts {
            output: output.to_owned(),
            delivered: counts.delivered,
            failed: counts.failed,
            dropped: counts.dropped,
            waiting: counts.waiting,
        });
        reading.alerts = counts.collect();
        reading
    }

    /// If the file makes no sense the old configuration stays.
    fn read_again(&mut self) -> Result<(), String> {
        let read = Configuration::read(self.config_file.as_deref());
        let configuration = read.map_err(|failure| {
            error!("the configuration stays as it was: {failure}");
            failure.message
        })?;
        self.site.configure(&configuration.metrics);
        self.configure(configuration);
        info!("the configuration was read again");
        Ok(())
    }

    fn configure(&mut self, new: Configuration) {
        if new.daemon != self.configuration.daemon
            || new.detect.every != self.configuration.detect.every
            || new.detect.share.to_bits() != self.configuration.detect.share.to_bits()
        {
            warn!(
                "[daemon], detect.every and detect.share are as they were until socktrace starts again"
            );
        }
        if new.metrics.owner != self.configuration.metrics.owner
            || new.metrics.owners != self.configuration.metrics.owners
        {
            warn!("metrics.owner and metrics.owners are as they were until socktrace starts again");
        }
        let (alerts, stories) = (&mut *self.alerts.borrow_mut(), self.watcher.stories());
        let (settings, clock) = (&new.alerts, &self.clock);
        let told = privileges::without(|| alerts.reload(settings, &stories, clock));
        if let Err(failure) = told {
            error!("alerts stay as they were: {failure}");
        }
        self.watcher
            .configure(&self.configuration.detect, &new.detect);
        self.configuration = new;
    }
}

impl Look for Keeper {
    fn netns(&self) -> &[u32] {
        &[]
    }

    fn share(&self) -> f64 {
        self.configuration.detect.share
    }

    fn enter(&self) -> fn() {
        || privileges::keep(privileges::SNAPSHOTS)
    }

    fn look(&mut self, mut seen: Seen, table: &SocketTable, accepts: bool) {
        let now = monotonic_ns();
        let took = u64::try_from(seen.took.as_nanos()).unwrap_or(u64::MAX);
        let notes = std::mem::take(&mut seen.notes);
        self.watcher.look(seen, table, accepts);
        let mut tally = self.tally.borrow_mut();
        tally.reconciled(took);
        let long_ago = now.saturating_sub(ns(FORGET_AFTER));
        tally.forget(long_ago, |pid| {
            Path::new("/proc").join(pid.to_string()).exists()
        });
        let stories = self.watcher.stories();
        let findings: Vec<_> = stories.iter().map(|story| &story.finding).collect();
        let (world, eligible) = (self.watcher.world(), &self.watcher.ports().eligible);
        let by_owner = SeenByOwner::new(&mut tally.owners, world, &findings, eligible);
        self.seen = Arc::new(by_owner);
        drop(tally);
        self.publish(notes);
        self.looked = true;
    }

    fn ready(&mut self, _: &Probes, pipeline: &mut Pipeline) -> Result<(), Failure> {
        self.memory.recall(pipeline, &mut self.watcher);
        privileges::keep(privileges::LOOP);
        if let Some(server) = self.server.take() {
            let site = Arc::clone(&self.site);
            let files = &self.files;
            self.running = Some(privileges::without(|| {
                privileges::confine(files);
                server.start(site)
            })?);
        }
        self.site.is_ready();
        let mut hangup = signal(SignalKind::hangup())?;
        let site = Arc::clone(&self.site);
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // What is wrong with it has been told.
                site.read_again().await.unwrap_or_default();
            }
        });
        notify(&[NotifyState::Ready]);
        info!("following sockets");
        Ok(())
    }

    fn asks(&mut self) -> Option<UnboundedReceiver<Question>> {
        self.questions.take()
    }

    fn asked(
        &mut self,
        question: Question,
        pipeline: &mut Pipeline,
        probes: &Probes,
        snapshots: &Snapshots,
    ) {
        // Whoever asked may have gone meanwhile; then nobody hears the answer.
        match question {
            Question::Reading(reply) => drop(reply.send(self.reading(pipeline, probes))),
            Question::List(listing) => snapshots.list(listing),
            Question::Hooks(reply) => drop(reply.send(hooks::hooks(probes))),
            Question::Known(identities, reply) => {
                for &id in &identities {
                    if !pipeline.table().contains(id)
                        && let Some(life) = probes.life(id)
                        && let Err(error) = pipeline.preview(life, None)
                    {
                        error!(%error, "what is known of a young socket is not told");
                    }
                }
                let (now, table) = (monotonic_ns(), pipeline.table());
                let known = identities.into_iter();
                let known = known.map(|id| Some(Told::of(&table.get(id)?, now)));
                drop(reply.send(known.collect()));
            }
            Question::ReadAgain(reply) => drop(reply.send(self.read_again())),
        }
    }

    fn beat(&mut self, pipeline: &mut Pipeline) {
        notify(&[NotifyState::Watchdog]);
        if self.running.as_ref().is_some_and(Running::is_over) {
            error!("nobody is answered any more: the server has ended");
            self.running = None;
        }
        self.memory.keep(pipeline.table(), &self.watcher);
        if std::mem::take(&mut self.looked) {
            footprint::give_back();
        }
    }

    fn over(&mut self, pipeline: &Pipeline) {
        self.memory.keep_last(pipeline.table(), &self.watcher);
    }
}

/// Tells systemd, if that is who started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told");
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Two that hear the same.
struct Both(Box<dyn Sink>, Adder);

impl Sink for Both {
    fn row(&mut self, change: &Change, clock: &Clock) -> io::Result<()> {
        self.0.row(change, clock)?;
        self.1.row(change, clock)
    }

    /// The other one hears what has an owner, and such rows are looked at in full.
    fn briefs(&mut self, briefs: &[Brief]) {
        self.1.briefs(briefs);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }

    /// Whoever counts looks at all that is heard, too.
    fn looks(&self) -> Looks {
        self.1.looks()
    }
}
