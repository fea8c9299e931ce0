//! Findings as a stream for others: something begins, gets worse, is over, each told once.
//!
//! [`Stream`] decides what is told, [`Alerts`] to whom. Each output has a thread and a queue of its
//! own, so that whoever tells never waits, and one that fails holds up no other.

mod alertmanager;
mod command;
mod counts;
mod file;
mod http;
mod journald;
mod lane;
mod latest;
mod message;
pub mod settings;
mod stream;
#[cfg(test)]
mod testing;
mod values;
mod voice;
mod webhook;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::lane::Lane;
pub use self::{
    counts::Counts,
    message::{Alert, Change},
    settings::Settings,
    stream::Stream,
};
use crate::{
    clock::{Clock, monotonic_ns},
    detect::{News, Story},
    failure::Failure,
};

/// At the end outputs have so long to deliver what is left.
const FLUSH: Duration = Duration::from_secs(5);

/// Takes messages about outputs for people. Threads of the outputs call it.
pub type Complain = Arc<dyn Fn(&str) + Send + Sync>;

/// All outputs.
pub struct Alerts {
    stream: Stream,
    lanes: Vec<Lane>,
    complain: Complain,
}

impl Alerts {
    /// The outputs that are configured. What becomes of them is told by `complain`: once, and again
    /// when it changes.
    pub fn new(
        settings: &Settings,
        complain: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let mut alerts = Self {
            stream: Stream::new(settings.severity),
            lanes: Vec::new(),
            complain: Arc::new(complain),
        };
        for output in settings.outputs() {
            alerts.lanes.push(Lane::open(output, &alerts.complain)?);
        }
        Ok(alerts)
    }

    /// Takes what [`crate::detect::Standing`] tells. Never waits.
    pub fn tell(&mut self, news: News, story: &Story, clock: &Clock) {
        let alert = self.stream.take(news, story, monotonic_ns(), clock);
        if let Some(alert) = alert.map(Arc::new) {
            self.lanes.iter().for_each(|lane| lane.send(&alert));
        }
    }

    /// Goes on with other settings. Outputs that stay as they are notice nothing; a new one is told of
    /// what stands; one that is gone has a moment to deliver what is left. With settings that make no
    /// sense everything stays as it was.
    pub fn reload(
        &mut self,
        settings: &Settings,
        standing: &[&Story],
        clock: &Clock,
    ) -> Result<(), Failure> {
        let outputs = settings.outputs();
        let mut new = Vec::new();
        for output in &outputs {
            if !self.lanes.iter().any(|lane| lane.is(output)) {
                new.push(Lane::open(output.clone(), &self.complain)?);
            }
        }
        let now = monotonic_ns();
        for alert in self.stream.change(settings.severity, standing, now, clock) {
            let alert = Arc::new(alert);
            self.lanes.iter().for_each(|lane| lane.send(&alert));
        }
        for story in standing {
            if let Some(alert) = self.stream.again(story, now, clock).map(Arc::new) {
                for lane in &new {
                    lane.send(&alert);
                }
            }
        }
        // Those that go deliver what they have without us: `drop` asks them to come to an end.
        self.lanes
            .retain(|lane| outputs.iter().any(|output| lane.is(output)));
        self.lanes.append(&mut new);
        Ok(())
    }

    /// What became of the alerts, by output.
    pub fn counts(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.lanes.iter().map(|lane| (lane.name(), lane.counts()))
    }

    /// Delivers what is left, for a moment at most. What is active stays so: nothing is over because
    /// nobody looks any more.
    pub fn finish(&mut self) {
        self.lanes.iter_mut().for_each(Lane::close);
        let end = Instant::now() + FLUSH;
        self.lanes.iter().for_each(|lane| lane.wait(end));
    }
}
