//! An output's thread and its queue.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    Alert, Complain, alertmanager, command,
    counts::{Counters, Counts},
    file, journald,
    latest::Latest,
    settings::Output,
    voice::Voice,
    webhook,
};
use crate::failure::Failure;

/// So many alerts wait for an output. A machine that has more of them at once has one problem, and
/// it is in the first of them.
const QUEUE: usize = 1024;
/// An alert is tried for so long: receivers are restarted.
const PATIENCE: Duration = Duration::from_mins(5);
/// Pauses between tries double from the first to the last.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(1);

/// Delivers alerts one by one, in a thread of its own.
pub(super) trait Deliver: Send + 'static {
    /// Looks whether it can, before there is anything to deliver.
    fn ready(&mut self) -> Result<(), Undelivered> {
        Ok(())
    }

    /// Delivers one, or gives up within some seconds.
    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered>;
}

/// Why an alert was not delivered.
#[derive(Debug)]
pub(super) struct Undelivered {
    pub(super) why: String,
    /// May it help to try again?
    pub(super) again: bool,
}

impl Undelivered {
    /// It will not help to try again.
    pub(super) fn at_all(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: false,
        }
    }

    pub(super) fn yet(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: true,
        }
    }
}

/// What the thread works with.
pub(super) struct Work {
    pub(super) counters: Arc<Counters>,
    pub(super) voice: Voice,
    /// No more alerts will come, and there is not much time.
    pub(super) closing: watch::Receiver<bool>,
}

impl Work {
    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow() || self.closing.has_changed().is_err()
    }

    /// Waits, unless time gets short.
    pub(super) async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// An output.
pub(super) struct Lane {
    output: Output,
    queue: Option<Queue>,
    counters: Arc<Counters>,
    closing: watch::Sender<bool>,
    over: Receiver<()>,
}

enum Queue {
    Each(mpsc::Sender<Arc<Alert>>),
    Latest(Arc<Latest>),
}

impl Lane {
    /// Starts the thread of an output.
    pub(super) fn open(output: Output, complain: &Complain) -> Result<Self, Failure> {
        match output.clone() {
            Output::Journald(it) => Self::each(output, journald::Journald::new(it), complain),
            Output::File(it) => Self::each(output, file::File::new(it), complain),
            Output::Command(it) => Self::each(output, command::Command::new(it), complain),
            Output::Webhook(it) => Self::each(output, webhook::Webhook::new(&it)?, complain),
            Output::Alertmanager(url, it, _) => {
                let manager = alertmanager::Alertmanager::new(&url, &it)?;
                let latest = Arc::new(Latest::default());
                let queue = Queue::Latest(Arc::clone(&latest));
                Self::start(output, queue, complain, async move |work| {
                    manager.run(&latest, work).await;
                })
            }
        }
    }

    fn each(
        output: Output,
        mut outlet: impl Deliver,
        complain: &Complain,
    ) -> Result<Self, Failure> {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        Self::start(output, Queue::Each(queue), complain, async move |work| {
            each(&mut outlet, &mut waiting, work).await;
        })
    }

    fn start(
        output: Output,
        queue: Queue,
        complain: &Complain,
        run: impl AsyncFnOnce(Work) + Send + 'static,
    ) -> Result<Self, Failure> {
        let counters = Arc::new(Counters::default());
        let (closing, closed) = watch::channel(false);
        let work = Work {
            counters: Arc::clone(&counters),
            voice: Voice::new(output.name(), Arc::clone(complain)),
            closing: closed,
        };
        let (done, over) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new().name(format!("to-{}", output.name()));
        let files = output.files();
        thread.spawn(move || {
            let mut work = work;
            if let Some(Err(error)) = files.map(|files| files.confine()) {
                work.voice
                    .fails(&format!("files cannot be put out of reach: {error}"));
            }
            runtime.block_on(run(work));
            // Whoever waited may have given up.
            done.send(()).unwrap_or_default();
            // A name that is being looked up holds up nobody.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            output,
            queue: Some(queue),
            counters,
            closing,
            over,
        })
    }

    /// Is it just this output?
    pub(super) fn is(&self, output: &Output) -> bool {
        self.output == *output
    }

    pub(super) fn name(&self) -> &str {
        self.output.name()
    }

    /// Hands it an alert. Never waits.
    pub(super) fn send(&self, alert: &Arc<Alert>) {
        let added = match &self.queue {
            Some(Queue::Each(queue)) => queue.try_send(Arc::clone(alert)).is_ok(),
            Some(Queue::Latest(latest)) if !latest.put(alert) => return,
            Some(Queue::Latest(_)) => true,
            None => false,
        };
        if added {
            self.counters.queued();
        } else {
            self.counters.dropped();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Nothing more will come: what is there is tried once more.
    pub(super) fn close(&mut self) {
        self.queue = None;
        self.closing.send_replace(true);
    }

    /// Waits until it has come to its end.
    pub(super) fn wait(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        self.over.recv_timeout(left).unwrap_or_default();
    }
}

async fn each(outlet: &mut impl Deliver, waiting: &mut mpsc::Receiver<Arc<Alert>>, mut work: Work) {
    if let Err(undelivered) = outlet.ready() {
        work.voice.fails(&undelivered.why);
    }
    while let Some(alert) = waiting.recv().await {
        if persist(outlet, &alert, &mut work).await {
            work.counters.delivered(1);
            work.voice.works();
        } else {
            work.counters.failed(1);
        }
        work.voice.dropped(work.counters.read().dropped);
    }
}

/// Tries until it is delivered or hopeless.
async fn persist(outlet: &mut impl Deliver, alert: &Alert, work: &mut Work) -> bool {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let closing = work.is_closing();
        let Err(undelivered) = outlet.deliver(alert).await else {
            return true;
        };
        work.voice.fails(&undelivered.why);
        if !undelivered.again || closing || began.elapsed() + pause > PATIENCE {
            return false;
        }
        work.pause(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
