//! Looks at the world for a while: what `leaks` and `limits` have in common.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Duration};

use hashbrown::HashMap;

use super::{
    ears::{Ears, Heard},
    filter::Filter,
    live,
    look::{Look, Seen},
    port_rows::PortReport,
    survey::Place,
};
use crate::{
    cli::{Live, Watch},
    clock::{Clock, monotonic_ns},
    detect::{
        self, Census, Descriptors, Detector, FdTrends, Filled, Finding, Limit, Listener, News,
        Remembered, Standing, Story, TimeWaited, World, all, limits,
    },
    endpoint::Endpoint,
    failure::Failure,
    ports,
    probe::{AttachError, AttachMode, Plan, Probes, Stacks, plan::Hooks},
    process::{Ask, Process, is_leaderless, read_comm},
    settings::Configuration,
    sink::Sink,
    source::{machine::Machine, snapshot::Protocol},
    table::{MOST_SOCKETS, SocketTable},
};

/// Looks are never closer.
const AT_LEAST: Duration = Duration::from_secs(1);
/// Where somebody waits for it, looks may take this part of one CPU.
const WAITED_FOR: f64 = 0.02;
/// Within so many looks without it a finding is still one.
const HOLD: u32 = 3;

/// Of these, births and ends are followed. Unix sockets come and go by the thousand on some machines,
/// and a look shows all that matters of them.
pub(super) const FOLLOWED: [Protocol; 4] = [
    Protocol::Tcp,
    Protocol::Mptcp,
    Protocol::Udp,
    Protocol::UdpLite,
];

/// What was seen in the end.
pub(super) struct Watched {
    pub(super) standing: Standing,
    pub(super) world: World,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    /// How long it takes to see that something only accumulates.
    pub(super) growth_takes: Duration,
    /// The stacks that were kept, if any were asked for.
    pub(super) stacks: Option<Stacks>,
}

/// Hears what is news. An error ends the watch.
pub(super) type Hear<'a> = Box<dyn FnMut(News, &Story) -> io::Result<()> + 'a>;

/// Follows everything for as long as is asked, looking in between, and keeping so many `stacks` of the
/// calls that make sockets.
pub(super) fn watch(args: &Watch, stacks: u32) -> Result<Watched, Failure> {
    let configuration = Configuration::read(args.config_file.as_deref())?;
    let duration = Some(args.duration());
    watch_for(
        args,
        stacks,
        duration,
        &configuration,
        Box::new(|_, _| Ok(())),
    )
}

/// The same, until somebody says stop if no time is given, and with an ear for what is news.
pub(super) fn watch_for(
    args: &Watch,
    stacks: u32,
    duration: Option<Duration>,
    configuration: &Configuration,
    hear: Hear<'_>,
) -> Result<Watched, Failure> {
    let every = configuration.detect.every.0;
    let every = every.min(duration.unwrap_or(every)).max(AT_LEAST);
    let mut watcher = Watcher::new(&configuration.detect, every, Filter::new(args)?, hear);
    let ears = watcher.ears();
    let clock = Clock::now();
    let live = Live {
        duration,
        ring_size: 8192,
        backlog_size: 0,
        reconcile: every,
        max_sockets: MOST_SOCKETS,
        hooks: Hooks::Full,
        attach: AttachMode::Auto,
        kernel_log: false,
    };
    let plan = Plan {
        stacks,
        stacks_of: args.pids.clone(),
        ..Plan::watching(&FOLLOWED, live.ring_size * 1024)
    };
    live::watch(plan, &live, Ask::Details, ears, &mut watcher)?;
    Ok(Watched {
        standing: watcher.standing,
        world: watcher.world,
        machine: watcher.machine,
        clock,
        growth_takes: configuration.detect.growth_takes(),
        stacks: watcher.stacks.filter(|_| stacks > 0),
    })
}

/// Looks whenever a snapshot has been taken in.
pub(super) struct Watcher<'h> {
    hear: Hear<'h>,
    /// Why news could not be heard.
    unheard: Rc<RefCell<Option<io::Error>>>,
    census: Census,
    heard: Rc<RefCell<Heard>>,
    detectors: Vec<Box<dyn Detector>>,
    standing: Standing,
    world: World,
    machine: Machine,
    descriptors: FdTrends,
    ports: PortReport,
    filter: Filter,
    share: f64,
    stacks: Option<Stacks>,
}

impl Look for Watcher<'_> {
    fn attached(&mut self, probes: &mut Probes) -> Result<(), AttachError> {
        self.stacks = Some(probes.take_stacks()?);
        Ok(())
    }

    fn netns(&self) -> &[u32] {
        &self.filter.netns
    }

    fn share(&self) -> f64 {
        self.share.max(WAITED_FOR)
    }

    fn look(&mut self, seen: Seen, table: &SocketTable, accepts: bool) {
        let now = monotonic_ns();
        let mut people = People::new(table);
        let heard = self.heard.borrow();
        let who = |pid| people.process(pid);
        let sightings = &seen.sightings;
        let mut world = self
            .census
            .take(now, sightings, table, &heard.lifetimes, accepts, who);
        let survey = seen.survey;
        self.machine = survey.machine;
        (world.files, world.orphans) = (self.machine.files, self.machine.orphans);
        let of = |(pid, filled)| Descriptors {
            process: people.process(pid),
            filled,
            eta_seconds: None,
        };
        world.descriptors = survey.descriptors.into_iter().map(of).collect();
        let mut eligible = HashMap::new();
        for place in survey.places {
            let settings = place.settings.as_ref();
            eligible.extend(settings.map(|it| (place.netns, it.eligible.clone())));
            inside(&mut world, place);
        }
        world.time_waits = time_waits(table, &eligible);
        self.ports = survey.ports;
        world.ports.clone_from(&self.ports.rows);
        for row in &mut world.ports {
            let eligible = eligible.get(&row.netns).zip(row.kind.remote());
            if let Some((eligible, (address, port))) = eligible {
                row.signs = heard.signals.of((row.netns, address, port), eligible);
            }
        }
        drop(heard);
        for listener in &mut world.listeners {
            listener.left_behind = is_left_behind(listener);
        }
        self.descriptors.see(&mut world);
        let mut found: Vec<Finding> = Vec::new();
        for detector in &mut self.detectors {
            detector.look(&world, &mut found);
        }
        found.retain(|finding| self.filter.wants(finding));
        self.standing.take(now, found, |news, story| {
            if let Err(error) = (self.hear)(news, story) {
                self.unheard.replace(Some(error));
            }
        });
        self.world = world;
    }
}

impl<'h> Watcher<'h> {
    /// Looks about `every` so often, at these namespaces and processes, or all.
    pub(super) fn new(
        settings: &detect::Settings,
        every: Duration,
        filter: Filter,
        hear: Hear<'h>,
    ) -> Self {
        Self {
            hear,
            unheard: Rc::default(),
            census: Census::default(),
            heard: Rc::default(),
            detectors: all(settings),
            standing: Standing::new(every * HOLD),
            world: World::default(),
            machine: Machine::default(),
            descriptors: FdTrends::default(),
            ports: PortReport::default(),
            filter,
            share: settings.share,
            stacks: None,
        }
    }

    /// What must hear of every change: how long sockets live is known from their ends, and how
    /// connections find ports from their outcomes.
    pub(super) fn ears(&self) -> Box<dyn Sink> {
        Box::new(Ears {
            heard: Rc::clone(&self.heard),
            unheard: Rc::clone(&self.unheard),
        })
    }

    /// Other thresholds from now on. What was seen before is remembered by those that keep theirs.
    pub(super) fn configure(&mut self, before: &detect::Settings, after: &detect::Settings) {
        for (known, new) in self.detectors.iter_mut().zip(all(after)) {
            if before.differs(after, new.kind()) {
                *known = new;
            }
        }
    }

    /// What stands, the worst first.
    pub(super) fn stories(&self) -> Vec<&Story> {
        self.standing.stories()
    }

    /// What must not be forgotten of what stands.
    pub(super) fn to_remember(&self) -> Vec<Remembered> {
        self.standing.to_remember()
    }

    /// What stood before we looked.
    pub(super) fn remember(&mut self, remembered: Vec<Remembered>) {
        self.standing.remember(remembered);
    }

    /// How things were at the last look.
    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// Every limit, the nearest first.
    pub(super) fn limits(&self) -> Vec<Limit> {
        limits(&self.world, self.machine.inodes)
    }

    /// Ports at the last look.
    pub(super) fn ports(&self) -> &PortReport {
        &self.ports
    }

    /// The same, for whoever keeps them.
    pub(super) fn take_ports(&mut self) -> PortReport {
        std::mem::take(&mut self.ports)
    }
}

/// Processes with their names: the table knows those that have sockets, `/proc` the others, and it
/// is asked once in a look.
struct People<'t> {
    table: &'t SocketTable,
    asked: HashMap<u32, Arc<Process>>,
}

impl<'t> People<'t> {
    fn new(table: &'t SocketTable) -> Self {
        Self {
            table,
            asked: HashMap::new(),
        }
    }

    fn process(&mut self, pid: u32) -> Arc<Process> {
        let ask = || {
            Arc::new(Process {
                comm: read_comm(pid),
                ..Process::new(pid)
            })
        };
        let known = self.table.process(pid);
        known.unwrap_or_else(|| Arc::clone(self.asked.entry(pid).or_insert_with(ask)))
    }
}

/// Whoever led its holders is gone; asked only where somebody waits for them.
fn is_left_behind(listener: &Listener) -> bool {
    let mut holders = listener.holders.iter();
    listener.queue.used > 0
        && !listener.holders.is_empty()
        && holders.all(|it| !listener.acceptors.contains(&it.pid) && is_leaderless(it.pid))
}

/// What only a namespace itself says.
fn inside(world: &mut World, place: Place) {
    let (netns, tables) = (place.netns, place.tables);
    world
        .conntrack
        .extend(tables.conntrack.map(|it| (netns, it)));
    if let (Some(limit), Some(population)) = (tables.tw_buckets, place.population) {
        let used = population.time_wait;
        world.tw_buckets.push((netns, Filled { used, limit }));
    }
    let Some(settings) = place.settings else {
        return;
    };
    for listener in world.listeners.iter_mut().filter(|it| it.netns == netns) {
        let port = listener
            .local
            .port
            .filter(|_| listener.proto != Protocol::Unix);
        listener.in_ephemeral_range = port.is_some_and(|it| settings.eligible.contains(it));
    }
}

/// Ports that connections keep after their end, by who closed first and where they went. There may be
/// a hundred thousand, to as many destinations. `eligible`: ports that may be chosen, by namespace.
fn time_waits(table: &SocketTable, eligible: &HashMap<u32, ports::Eligible>) -> Vec<TimeWaited> {
    let mut found: HashMap<_, TimeWaited> = HashMap::new();
    for wait in table.time_waits() {
        let socket = &wait.socket;
        let Some(ports) = eligible.get(&socket.netns) else {
            continue;
        };
        if !ports.contains(socket.lport) {
            continue;
        }
        let pid = wait.owner.as_ref().map(|owner| owner.pid);
        let remote = (socket.family, socket.raddr, socket.rport);
        let waited = found
            .entry((socket.netns, pid, remote))
            .or_insert_with(|| TimeWaited {
                netns: socket.netns,
                process: wait.owner.clone(),
                remote: Endpoint::new(socket.family, socket.raddr, socket.rport),
                filled: Filled {
                    used: 0,
                    limit: u64::from(ports.count()),
                },
            });
        waited.filled.used += 1;
    }
    found.into_values().collect()
}
