//! What became of the alerts for an output, counted by its thread and by those who tell.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the alerts for an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that were taken.
    pub delivered: u64,
    /// Those that were given up.
    pub failed: u64,
    /// Those that found no room in the queue.
    pub dropped: u64,
    /// Those that wait.
    pub waiting: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    queued: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    pub(super) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (delivered, failed) = (read(&self.delivered), read(&self.failed));
        Counts {
            delivered,
            failed,
            dropped: read(&self.dropped),
            waiting: read(&self.queued).saturating_sub(delivered + failed),
        }
    }
}
