//! Looks at the world for a while: what `leaks` and `limits` have in common.

use std::{
    cell::RefCell, fs, io, os::unix::fs::MetadataExt as _, rc::Rc, sync::Arc, time::Duration,
};

use hashbrown::HashMap;

use super::{live, port_watch::PortWatch, selection, snapshots::Look};
use crate::{
    change::{Change, What},
    cli::{Live, Run, Watch},
    clock::{Clock, monotonic_ns},
    detect::{
        Census, Descriptors, Detector, Filled, Finding, Key, Lifetimes, Sighting, Standing,
        TimeWaited, World, all,
    },
    endpoint::Endpoint,
    failure::Failure,
    pipeline::Pipeline,
    ports,
    probe::{AttachError, AttachMode, Plan, Probes, Stacks},
    process::{Process, read_comm},
    select::Select,
    settings::Configuration,
    sink::{Report, Sink},
    source::{
        machine::{Machine, Tables, descriptors},
        snapshot::{Namespaces, Protocol},
    },
    table::{MOST_SOCKETS, SocketTable},
};

/// Looks are never closer.
const AT_LEAST: Duration = Duration::from_secs(1);
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

/// Follows everything for as long as is asked, looking in between, and keeping so many `stacks` of the
/// calls that make sockets.
pub(super) fn watch(args: &Watch, stacks: u32) -> Result<Watched, Failure> {
    let configuration = Configuration::read(args.config_file.as_deref())?;
    let every = configuration.detect.every.0;
    let every = every.min(args.duration).max(AT_LEAST);
    let netns = selection::namespaces(&args.netns)?;
    let lifetimes = Rc::new(RefCell::new(Lifetimes::default()));
    let mut watcher = Watcher {
        census: Census::default(),
        lifetimes: Rc::clone(&lifetimes),
        detectors: all(&configuration.detect),
        standing: Standing::new(every * HOLD),
        world: World::default(),
        machine: Machine::default(),
        ports: PortWatch::new(netns.clone())?,
        netns,
        pids: args.pids.clone(),
        stacks: None,
    };
    let clock = Clock::now();
    let live = Live {
        duration: Some(args.duration),
        ring_size: 8192,
        reconcile: every,
        max_sockets: MOST_SOCKETS,
        attach: AttachMode::Auto,
        kernel_log: false,
    };
    let plan = Plan {
        stacks,
        stacks_of: args.pids.clone(),
        ..Plan::everything(&FOLLOWED, live.ring_size * 1024)
    };
    let pipeline = |clock: Clock| {
        let ears = Box::new(Ears { lifetimes });
        Ok(Pipeline::new(
            Select::default(),
            Report::Trace,
            Some(ears),
            clock,
        ))
    };
    let how = live::How {
        live: &live,
        run: &Run::default(),
        count: None,
        details: false,
        quiet: true,
    };
    live::run(plan, pipeline, &how, Some(&mut watcher))?;
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
struct Watcher {
    census: Census,
    lifetimes: Rc<RefCell<Lifetimes>>,
    detectors: Vec<Box<dyn Detector>>,
    standing: Standing,
    world: World,
    machine: Machine,
    ports: PortWatch,
    netns: Vec<u32>,
    pids: Vec<u32>,
    stacks: Option<Stacks>,
}

impl Look for Watcher {
    fn attached(&mut self, probes: &mut Probes) -> Result<(), AttachError> {
        self.stacks = Some(probes.take_stacks()?);
        Ok(())
    }

    fn look(&mut self, sightings: &[Sighting], table: &SocketTable, accepts: bool) {
        let now = monotonic_ns();
        let mut people = People::new(table);
        let lifetimes = self.lifetimes.borrow();
        let who = |pid| people.process(pid);
        let mut world = self
            .census
            .take(now, sightings, table, &lifetimes, accepts, who);
        drop(lifetimes);
        self.machine = Machine::read();
        (world.files, world.orphans) = (self.machine.files, self.machine.orphans);
        world.descriptors = processes(&mut people);
        inside(&mut world, table);
        // What cannot be seen is told by `ports`.
        world.ports = self
            .ports
            .report()
            .map_or_else(|_| Vec::new(), |it| it.rows);
        self.describe(&mut world);
        let mut found: Vec<Finding> = Vec::new();
        for detector in &mut self.detectors {
            detector.look(&world, &mut found);
        }
        found.retain(|finding| self.wants(finding));
        self.standing.take(now, found, |_, _| {});
        self.world = world;
    }
}

impl Watcher {
    fn wants(&self, finding: &Finding) -> bool {
        let subject = &finding.subject;
        let pid = subject.process.as_ref().map(|process| process.pid);
        (self.pids.is_empty() || pid.is_some_and(|pid| self.pids.contains(&pid)))
            && match (subject.netns, pid) {
                _ if self.netns.is_empty() => true,
                (Some(netns), _) => self.netns.contains(&netns),
                (None, Some(pid)) => self.is_inside(pid),
                // What the whole machine lacks, each namespace lacks.
                (None, None) => true,
            }
    }

    /// Is the process in a wanted namespace?
    fn is_inside(&self, pid: u32) -> bool {
        let netns = fs::metadata(format!("/proc/{pid}/ns/net"));
        netns.is_ok_and(|netns| self.netns.iter().any(|it| u64::from(*it) == netns.ino()))
    }

    /// Only what is wanted of the world's limits.
    fn describe(&self, world: &mut World) {
        if !self.pids.is_empty() {
            world
                .descriptors
                .retain(|it| self.pids.contains(&it.process.pid));
        }
        if !self.netns.is_empty() {
            world
                .descriptors
                .retain(|it| self.is_inside(it.process.pid));
            world.listeners.retain(|it| self.netns.contains(&it.netns));
            world
                .conntrack
                .retain(|(netns, _)| self.netns.contains(netns));
            world
                .tw_buckets
                .retain(|(netns, _)| self.netns.contains(netns));
        }
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

/// How many descriptors processes have.
fn processes(people: &mut People<'_>) -> Vec<Descriptors> {
    let found = descriptors().unwrap_or_default();
    let of = |(pid, filled)| Descriptors {
        process: people.process(pid),
        filled,
    };
    found.into_iter().map(of).collect()
}

/// What only the namespaces themselves say.
fn inside(world: &mut World, table: &SocketTable) {
    let mut namespaces = Namespaces::new();
    if namespaces.refresh([]).is_err() {
        return;
    }
    let read = namespaces.each_inside(
        |_| true,
        |namespace| {
            let settings = namespace.sysctls().ok();
            let settings = settings.and_then(|texts| ports::Settings::parse(&texts).ok());
            (Tables::read(), namespace.population().ok(), settings)
        },
    );
    for (netns, read) in read.unwrap_or_default() {
        let Ok((tables, population, settings)) = read else {
            continue;
        };
        world
            .conntrack
            .extend(tables.conntrack.map(|it| (netns, it)));
        if let (Some(limit), Some(population)) = (tables.tw_buckets, population) {
            let used = population.time_wait;
            world.tw_buckets.push((netns, Filled { used, limit }));
        }
        let Some(settings) = settings else { continue };
        for listener in world.listeners.iter_mut().filter(|it| it.netns == netns) {
            let port = listener
                .local
                .port
                .filter(|_| listener.proto != Protocol::Unix);
            listener.in_ephemeral_range = port.is_some_and(|it| settings.eligible.contains(it));
        }
        world.time_waits.extend(time_waits(netns, table, &settings));
    }
}

/// Ports that connections keep after their end, by who closed first and where they went.
fn time_waits(netns: u32, table: &SocketTable, settings: &ports::Settings) -> Vec<TimeWaited> {
    let mut found: Vec<TimeWaited> = Vec::new();
    let limit = u64::from(settings.eligible.count());
    for wait in table.time_waits().filter(|wait| wait.socket.netns == netns) {
        if !settings.eligible.contains(wait.socket.lport) {
            continue;
        }
        let socket = &wait.socket;
        let remote = Endpoint::new(socket.family, socket.raddr, socket.rport);
        let pid = wait.owner.as_ref().map(|owner| owner.pid);
        let same = |it: &&mut TimeWaited| {
            it.remote == remote && it.process.as_ref().map(|process| process.pid) == pid
        };
        match found.iter_mut().find(same) {
            Some(it) => it.filled.used += 1,
            None => found.push(TimeWaited {
                netns,
                process: wait.owner.clone(),
                remote,
                filled: Filled { used: 1, limit },
            }),
        }
    }
    found
}

/// Hears how long sockets live.
struct Ears {
    lifetimes: Rc<RefCell<Lifetimes>>,
}

impl Sink for Ears {
    fn row(&mut self, change: &Change, _: &Clock) -> io::Result<()> {
        if let What::End {
            lifetime_ns: Some(lifetime),
            role,
            ..
        } = &change.what
        {
            let socket = &change.socket;
            let key = Key::new(
                socket.netns.unwrap_or_default(),
                socket.owner.as_ref().map_or(0, |owner| owner.pid),
                socket.protocol.unwrap_or(Protocol::Other),
                *role,
                (socket.local, socket.remote),
            );
            self.lifetimes
                .borrow_mut()
                .ended(key, change.mono_ns, *lifetime);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
