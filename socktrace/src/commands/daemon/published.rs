//! What the last look found, for whoever asks: made once a look, read by many.

use std::time::Duration;

use crate::{
    clock::{Clock, monotonic_ns},
    commands::port_rows::PortReport,
    detect::{Limit, Story},
};

/// What the last look found.
#[derive(Default)]
pub(super) struct Published {
    pub(super) stories: Vec<Story>,
    pub(super) limits: Vec<Limit>,
    pub(super) ports: PortReport,
    /// What could not be looked at.
    pub(super) notes: Vec<String>,
    /// How long it takes to see that something only accumulates.
    pub(super) growth_takes: Duration,
    /// When the watch began, with the clock of then.
    pub(super) clock: Option<Clock>,
}

impl Published {
    /// For how long there is somebody who looks.
    pub(super) fn watched(&self) -> Option<Duration> {
        let began = self.clock.as_ref()?.began_ns;
        Some(Duration::from_nanos(monotonic_ns().saturating_sub(began)))
    }
}
