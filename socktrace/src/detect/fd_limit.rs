//! A process is about to run out of descriptors: `accept()` fails then, connections stay in the
//! queue, and a loop that asks again and again burns a CPU.

use std::collections::VecDeque;

use super::{
    Descriptors, Detector, Finding, Kind, Severity, Subject, World, history::Histories,
    settings::FdLimit as Settings,
};
use crate::ports::theil_sen;

/// At most so many points are kept for a slope.
const POINTS: usize = 60;
/// Fewer say nothing.
const LEAST_POINTS: usize = 5;

pub(super) struct FdLimit {
    settings: Settings,
    /// When (seconds), and how many; by pid.
    used: Histories<u32, VecDeque<(f64, f64)>>,
}

impl FdLimit {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            used: Histories::default(),
        }
    }
}

impl Detector for FdLimit {
    fn kind(&self) -> Kind {
        Kind::FdLimit
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        self.used.begin();
        for descriptors in &world.descriptors {
            let points = self.used.of(descriptors.process.pid, VecDeque::new);
            let eta_seconds = eta(points, world.now_ns, descriptors);
            let ratio = descriptors.filled.ratio();
            let soon = self.settings.soon.0.as_secs_f64();
            let severity = if ratio >= self.settings.critical {
                Severity::Critical
            } else if ratio >= self.settings.warning || eta_seconds.is_some_and(|eta| eta < soon) {
                Severity::Warning
            } else {
                continue;
            };
            let subject = Subject {
                process: Some(descriptors.process.clone()),
                ..Subject::default()
            };
            let mut finding = Finding::new(Kind::FdLimit, severity, subject);
            finding.used = Some(descriptors.filled.used);
            finding.limit = Some(descriptors.filled.limit);
            finding.eta_seconds = eta_seconds;
            finding.advice = format!("socktrace sockets{}", finding.subject.option());
            found.push(finding);
        }
        self.used.end();
    }
}

/// In how many seconds there will be no more, if it goes on. Below a tenth of the limit nothing is
/// near, however fast it grows: that is a program that starts.
#[allow(clippy::cast_precision_loss, reason = "it is an estimate")]
fn eta(points: &mut VecDeque<(f64, f64)>, now_ns: u64, now: &Descriptors) -> Option<f64> {
    points.push_back((now_ns as f64 / 1e9, now.filled.used as f64));
    if points.len() > POINTS {
        points.pop_front();
    }
    if points.len() < LEAST_POINTS || now.filled.ratio() < 0.1 {
        return None;
    }
    let span = points.back()?.0 - points.front()?.0;
    let slope = theil_sen(points.make_contiguous())?;
    let left = now.filled.limit.saturating_sub(now.filled.used) as f64;
    (slope * span >= 1.0).then(|| left / slope)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filled, testing::*},
        *,
    };

    fn told(used: impl Fn(u64) -> u64) -> Vec<(u64, Severity)> {
        looks(&mut FdLimit::new(Settings::default()), 60, |second| World {
            descriptors: vec![Descriptors {
                process: process(100),
                filled: Filled {
                    used: used(second / 60),
                    limit: 1000,
                },
            }],
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn a_leak_is_a_warning_an_hour_before_the_end_and_critical_near_it() {
        let told = told(|minute| 15 * minute);
        let (first, severity) = told[0];
        assert_eq!(severity, Severity::Warning);
        // 1000 are reached in minute 67.
        assert!((7..=12).contains(&first), "{told:?}");
        assert_eq!(told.last(), Some(&(60, Severity::Critical)));
    }

    #[test]
    fn what_is_steady_below_is_nothing() {
        assert_eq!(told(|_| 690), []);
        assert_eq!(told(|minute| 300 + minute % 3), []);
        assert_eq!(told(|_| 700).len(), 60);
    }
}
