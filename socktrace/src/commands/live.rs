//! The loop of every command that listens to the kernel.

use std::{io, time::Duration};

use aya_log::EbpfLogger;
use socktrace_common::event::EventKind;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    child::Child,
    drain::drain,
    finish,
    footprint::give_back,
    kernel_log::{StderrLog, kernel_log},
    look::Look,
    question::Question,
    snapshots::{Snapshots, Step, Taken},
    tell,
};
use crate::{
    cli::{Live, Run},
    clock::Clock,
    failure::{Failure, INTERRUPTED},
    pipeline::Pipeline,
    probe::{
        Plan, Probes,
        check::{Grade, privileges::pid_namespace},
        environment::Environment,
        losses,
        preflight::preflight,
    },
    process::Ask,
    select::Select,
    sink::{Report, Sink},
    source::{
        Item,
        feed::Feed,
        ringbuf::{Ring, SELDOM, SOON},
    },
};

/// After a command has ended its sockets have so long to end, too.
const GOODBYES: Duration = Duration::from_millis(100);

/// How often the kernel side's counters are read: a loss that leaves no gap is told this late.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How to run.
pub(super) struct How<'a> {
    pub(super) live: &'a Live,
    pub(super) run: &'a Run,
    /// No more rows than this.
    pub(super) count: Option<u64>,
    /// What to ask `/proc` about processes.
    pub(super) ask: Ask,
    /// No summary, and no word at the beginning.
    pub(super) quiet: bool,
}

/// Attaches, runs until something says stop, drains, sums up.
pub(super) fn run(
    mut plan: Plan,
    pipeline: impl FnOnce(Clock) -> Result<Pipeline, Failure>,
    how: &How<'_>,
    mut look: Option<&mut (dyn Look + '_)>,
) -> Result<u8, Failure> {
    let How {
        live,
        run,
        count,
        ask,
        quiet,
    } = *how;
    let environment = Environment::here();
    preflight(&environment)?;
    let mut child = Child::hold(&run.command)?;
    if let Some(child) = &child {
        plan.pids = Some(vec![child.pid()]);
    }
    if plan.pids.is_some() {
        // The hook that tells of forks is the one that has children followed.
        plan.kinds |= EventKind::Fork.bit();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut probes = Probes::attach(&plan)?;
        warn(&probes, &plan, &environment);
        if let Some(look) = look.as_deref_mut() {
            look.attached(&mut probes)?;
        }
        let every = if plan.lives > 0 { SELDOM } else { SOON };
        let feed = Feed::new(probes.take_ring()?, probes.take_shelves()?);
        let backlog = live.backlog();
        let mut ring = if backlog > 0 {
            Ring::with_backlog(feed, every, backlog)?
        } else {
            Ring::new(feed, every)?
        };
        let mut pipeline = pipeline(Clock::now())?;
        pipeline.tell_at_most(count.unwrap_or(u64::MAX));
        pipeline.ask = ask;
        let log = live
            .kernel_log
            .then(|| kernel_log(&mut probes))
            .transpose()?;
        pipeline.limit(live.max_sockets);
        if plan.lives > 0 {
            pipeline.expect_lives();
        }
        let every = Some(live.reconcile).filter(|every| !every.is_zero());
        let mut snapshots = Snapshots::new(&probes, &plan, every, look.as_deref());
        pipeline.tells_open = plan.pids.is_some();
        if child.is_none() {
            let look = look.as_deref_mut();
            snapshots
                .first(&mut probes, &plan, &mut pipeline, look)
                .await?;
        }
        // Who is told that it runs may stop it at once.
        let stopped = Stopped::new()?;
        if let Some(look) = look.as_deref_mut() {
            look.ready(&probes, &mut pipeline)?;
        }
        give_back();
        let mut status = 0;
        let run = Listening {
            log,
            after: live.duration,
            plan: &plan,
            ring: &mut ring,
            pipeline: &mut pipeline,
            probes: &mut probes,
            snapshots,
            stopped,
            questions: look.as_deref_mut().and_then(Look::asks),
            look: look.as_deref_mut(),
            quiet,
        };
        let outcome = run
            .listen(child.as_mut(), &mut status)
            .await
            .and_then(|()| pipeline.finish(probes.counters().ok().as_ref()));
        if let Some(child) = &mut child {
            child.leave().await;
        }
        if let Some(look) = look {
            look.over(&pipeline);
        }
        if quiet {
            outcome?;
            return Ok(status);
        }
        finish(outcome, &pipeline, status)
    })
}

/// The same for one who shows no rows: everything that is followed goes to `ears`, and each snapshot
/// to `look`.
pub(super) fn watch(
    plan: Plan,
    live: &Live,
    ask: Ask,
    ears: Box<dyn Sink>,
    look: &mut (dyn Look + '_),
) -> Result<u8, Failure> {
    let pipeline = |clock: Clock| {
        Ok(Pipeline::new(
            Select::default(),
            Report::Trace,
            Some(ears),
            clock,
        ))
    };
    let how = How {
        live,
        run: &Run::default(),
        count: None,
        ask,
        quiet: true,
    };
    run(plan, pipeline, &how, Some(look))
}

/// What the loop looks after.
struct Listening<'a, 'l> {
    log: Option<EbpfLogger<&'static StderrLog>>,
    after: Option<Duration>,
    plan: &'a Plan,
    ring: &'a mut Ring,
    pipeline: &'a mut Pipeline,
    probes: &'a mut Probes,
    snapshots: Snapshots,
    stopped: Stopped,
    look: Option<&'a mut (dyn Look + 'l)>,
    questions: Option<UnboundedReceiver<Question>>,
    quiet: bool,
}

/// Ways to be told that it is enough.
struct Stopped {
    interrupt: Signal,
    terminate: Signal,
}

impl Stopped {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// What woke the loop.
enum Woken {
    Records,
    /// The command is over.
    Ended,
    Counters,
    Snapshot(Step),
    Question(Question),
    Over,
    Stop,
}

impl Listening<'_, '_> {
    async fn listen(mut self, mut child: Option<&mut Child>, status: &mut u8) -> io::Result<()> {
        exit_on_second_interrupt();
        let mut counting = interval(COUNT_EVERY);
        counting.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let timeout = sleep(self.after.unwrap_or(Duration::MAX / 4));
        tokio::pin!(timeout);
        match &mut child {
            Some(child) => child.release(),
            None if self.quiet => {}
            None => tell("following sockets; Ctrl-C ends with a summary"),
        }
        let mut ended = None;
        while !self.pipeline.is_full() {
            if ended.is_some_and(|at: Instant| self.is_over(at)) {
                return self.stop();
            }
            let hurry = !self.pipeline.table().is_repaired();
            let woken = tokio::select! {
                ready = self.ring.ready() => ready.map(|()| Woken::Records)?,
                _ = counting.tick() => Woken::Counters,
                step = self.snapshots.next(hurry) => Woken::Snapshot(step),
                question = next(self.questions.as_mut()) => Woken::Question(question),
                () = &mut timeout => Woken::Over,
                _ = self.stopped.interrupt.recv() => Woken::Stop,
                _ = self.stopped.terminate.recv() => Woken::Stop,
                code = wait(child.as_deref_mut()) => {
                    *status = code?;
                    (child, ended) = (None, Some(Instant::now()));
                    Woken::Ended
                }
            };
            // A snapshot is compared with a table that knows all that was told before it, and what the
            // command has left is asked of one that knows all that it did.
            let all = matches!(
                woken,
                Woken::Snapshot(_) | Woken::Question(_) | Woken::Ended
            );
            drain(self.ring, self.pipeline, all)?;
            match woken {
                Woken::Counters => {
                    // What cannot be read is not zero.
                    if let Ok(counters) = self.probes.counters() {
                        self.pipeline.take(&Item::Counters(counters))?;
                    }
                    if let Some(look) = self.look.as_deref_mut() {
                        look.beat(self.pipeline);
                    }
                }
                Woken::Question(question) => {
                    if let Some(look) = self.look.as_deref_mut() {
                        look.asked(question, self.pipeline, self.probes, &self.snapshots);
                    }
                }
                Woken::Snapshot(Step::Begin) => self.snapshots.begin(self.pipeline)?,
                Woken::Snapshot(Step::Take(taken)) => {
                    self.take(taken)?;
                }
                Woken::Over => {
                    self.last_look().await?;
                    return self.stop();
                }
                Woken::Stop => return self.stop(),
                Woken::Records | Woken::Ended => {}
            }
            if let Some(log) = &mut self.log {
                log.flush();
            }
        }
        Ok(())
    }

    fn take(&mut self, taken: Taken) -> io::Result<()> {
        let look = self.look.as_deref_mut();
        self.snapshots
            .take(taken, self.probes, self.plan, self.pipeline, look)
    }

    /// The time is over: the last seconds count, too. Who is in a hurry does not come here.
    async fn last_look(&mut self) -> io::Result<()> {
        if self.look.is_none() {
            return Ok(());
        }
        if !self.snapshots.is_under_way() {
            if self.snapshots.is_recent() {
                return Ok(());
            }
            drain(self.ring, self.pipeline, true)?;
            self.snapshots.begin(self.pipeline)?;
        }
        let taken = loop {
            tokio::select! {
                ready = self.ring.ready() => ready?,
                taken = self.snapshots.taken() => break taken,
            }
            drain(self.ring, self.pipeline, false)?;
        };
        drain(self.ring, self.pipeline, true)?;
        taken.map_or(Ok(()), |taken| self.take(taken))
    }

    /// The command has ended: is there nothing more to see of its sockets? The last of them may be
    /// saying goodbye to a peer still.
    fn is_over(&self, ended: Instant) -> bool {
        ended.elapsed() >= GOODBYES || !self.pipeline.table().is_settling()
    }

    fn stop(self) -> io::Result<()> {
        // First, so that what is drained is all there will be and the books are closed.
        self.probes.detach();
        drain(self.ring, self.pipeline, true)
    }
}

async fn next(questions: Option<&mut UnboundedReceiver<Question>>) -> Question {
    let next = match questions {
        Some(questions) => questions.recv().await,
        None => None,
    };
    match next {
        Some(question) => question,
        // Nobody asks, or nobody is left to ask.
        None => std::future::pending().await,
    }
}

async fn wait(child: Option<&mut Child>) -> io::Result<u8> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// The first interrupt drains and sums up; who cannot wait for that presses again. A thread of its
/// own, as the first may find the loop waiting for a pipe that nobody reads.
#[allow(clippy::exit, reason = "that is what was asked for")]
fn exit_on_second_interrupt() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
                return;
            };
            interrupt.recv().await;
            interrupt.recv().await;
            std::process::exit(i32::from(INTERRUPTED));
        });
    });
}

/// What this run has to do without.
#[allow(clippy::print_stderr, reason = "that is where it belongs")]
fn warn(probes: &Probes, plan: &Plan, environment: &Environment) {
    let pids = pid_namespace(environment);
    if plan.pids.is_some() && pids.grade != Grade::Ok {
        eprintln!("socktrace: {}", pids.text());
    }
    for message in losses::messages(&probes.hooks, environment) {
        eprintln!("socktrace: {message}");
    }
}
