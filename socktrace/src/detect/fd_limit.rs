//! A process is about to run out of descriptors: `accept()` fails then, connections stay in the
//! queue, and a loop that asks again and again burns a CPU.

use super::{Detector, Finding, Kind, Severity, Subject, World, settings::FdLimit as Settings};

pub(super) struct FdLimit(Settings);

impl FdLimit {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
}

impl Detector for FdLimit {
    fn kind(&self) -> Kind {
        Kind::FdLimit
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        for descriptors in &world.descriptors {
            let eta_seconds = descriptors.eta_seconds;
            let ratio = descriptors.filled.ratio();
            let soon = self.0.soon.0.as_secs_f64();
            let severity = if ratio >= self.0.critical {
                Severity::Critical
            } else if ratio >= self.0.warning || eta_seconds.is_some_and(|eta| eta < soon) {
                Severity::Warning
            } else {
                continue;
            };
            let subject = Subject {
                process: Some(descriptors.process.clone()),
                ..Subject::default()
            };
            let filled = descriptors.filled;
            let mut finding = Finding::of_limit(Kind::FdLimit, severity, subject, filled);
            finding.eta_seconds = eta_seconds;
            finding.advice = format!("socktrace sockets{}", finding.subject.option());
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{
        super::{Descriptors, FdTrends, Filled, testing::*},
        *,
    };

    fn told(used: impl Fn(u64) -> u64) -> Vec<(u64, Severity)> {
        let trends = RefCell::new(FdTrends::default());
        looks(&mut FdLimit::new(Settings::default()), 60, |second| {
            let mut world = World {
                descriptors: vec![Descriptors {
                    process: process(100),
                    filled: Filled {
                        used: used(second / 60),
                        limit: 1000,
                    },
                    eta_seconds: None,
                }],
                ..world(second, Vec::new())
            };
            trends.borrow_mut().see(&mut world);
            world
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
