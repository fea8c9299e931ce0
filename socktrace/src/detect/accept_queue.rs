//! Connections wait to be accepted. When the queue is full the kernel drops what comes without a
//! word: clients believe that they are connected, or wait.

use super::{
    Detector, Finding, Kind, Listener, Severity, Subject, World, history::Histories,
    settings::AcceptQueue as Settings,
};

pub(super) struct AcceptQueue {
    settings: Settings,
    queues: Histories<u64, Queue>,
}

/// What was seen of a listener.
#[derive(Debug, Default)]
struct Queue {
    /// Looks in a row in which it was nearly full.
    full: u32,
    drops: Option<u64>,
    /// How many were dropped since we look.
    dropped: u64,
    /// How many had been accepted when that last changed, and when that was.
    accepted: Option<(u64, u64)>,
}

impl AcceptQueue {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            queues: Histories::default(),
        }
    }

    fn judge(&self, now: u64, listener: &Listener, queue: &mut Queue) -> Option<Finding> {
        let before = queue.drops;
        queue.drops = listener.drops;
        let dropped = listener
            .drops
            .zip(before)
            .map_or(0, |(now, before)| now.saturating_sub(before));
        queue.dropped += dropped;
        // Somebody waits: since when has nobody been taken?
        let waits = listener.queue.used > 0;
        match (listener.accepted, queue.accepted) {
            (Some(accepted), Some((before, _))) if waits && accepted == before => {}
            (accepted, _) => queue.accepted = accepted.map(|accepted| (accepted, now)),
        }
        let stuck_ns = queue
            .accepted
            .map_or(0, |(_, since)| now.saturating_sub(since));
        let stuck = waits && stuck_ns >= self.settings.stuck.ns();
        let nearly_full = listener.queue.ratio() > self.settings.ratio;
        queue.full = if nearly_full { queue.full + 1 } else { 0 };
        let severity = if dropped > 0 || stuck {
            Severity::Critical
        } else if queue.full >= self.settings.looks {
            Severity::Warning
        } else {
            return None;
        };
        let subject = Subject {
            netns: Some(listener.netns),
            process: listener.owner.clone(),
            proto: Some(listener.proto),
            lport: listener.local.port,
            ..Subject::default()
        };
        let mut finding = Finding::new(Kind::AcceptQueue, severity, subject)
            .with("dropped", queue.dropped)
            .with("nearly_full_looks", u64::from(queue.full))
            .with(
                "not_accepted_seconds",
                if waits { stuck_ns / 1_000_000_000 } else { 0 },
            );
        (finding.used, finding.limit) = (Some(listener.queue.used), Some(listener.queue.limit));
        finding.count = finding.used;
        finding.advice = if stuck {
            "look what the acceptor does: it takes nobody from its queue".to_owned()
        } else {
            "a larger backlog (listen() and net.core.somaxconn), or more acceptors".to_owned()
        };
        Some(finding)
    }
}

impl Detector for AcceptQueue {
    fn kind(&self) -> Kind {
        Kind::AcceptQueue
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let mut queues = std::mem::take(&mut self.queues);
        queues.begin();
        for listener in &world.listeners {
            let queue = queues.of(listener.cookie, Queue::default);
            found.extend(self.judge(world.now_ns, listener, queue));
        }
        queues.end();
        self.queues = queues;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn told(listeners: impl Fn(u64) -> Listener) -> Vec<(u64, Severity)> {
        let mut detector = AcceptQueue::new(Settings::default());
        looks(&mut detector, 5, |second| World {
            listeners: vec![listeners(second / 60)],
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn a_queue_that_stays_nearly_full_is_a_warning() {
        let told = told(|minute| Listener {
            accepted: Some(minute),
            ..listener(100, 128)
        });
        assert_eq!(told, [3, 4, 5].map(|minute| (minute, Severity::Warning)));
    }

    #[test]
    fn a_drop_is_critical_and_an_old_one_is_not() {
        let told = told(|minute| Listener {
            drops: Some(if minute < 3 { 7 } else { 8 }),
            accepted: Some(minute),
            ..listener(1, 128)
        });
        assert_eq!(told, [(3, Severity::Critical)]);
    }

    #[test]
    fn a_stuck_acceptor_is_critical_and_an_idle_one_is_not() {
        let stuck = told(|_| listener(1, 128));
        assert_eq!(
            stuck,
            [2, 3, 4, 5].map(|minute| (minute, Severity::Critical))
        );
        assert_eq!(told(|_| listener(0, 128)), []);
        // A burst that drains.
        let burst = told(|minute| Listener {
            accepted: Some(minute),
            ..listener(if minute == 2 { 128 } else { 0 }, 128)
        });
        assert_eq!(burst, []);
    }
}
