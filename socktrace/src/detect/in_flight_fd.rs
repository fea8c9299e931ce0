//! Descriptors in messages over Unix sockets that nobody receives: open, and in no process's table.
//! Enough of them, and sending fails with `ETOOMANYREFS`.

use super::{
    Detector, Finding, Kind, Severity, Subject, World,
    history::{Floors, Histories},
    settings::InFlightFd as Settings,
};

pub(super) struct InFlightFd {
    settings: Settings,
    /// By namespace.
    floors: Histories<u32, Floors>,
}

impl InFlightFd {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            floors: Histories::default(),
        }
    }
}

impl Detector for InFlightFd {
    fn kind(&self) -> Kind {
        Kind::InFlightFd
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let (now, age) = (world.now_ns, self.settings.age.ns());
        let window_ns = self.settings.window.ns();
        self.floors.begin();
        for queue in &world.in_flight {
            let waits = queue
                .since_ns
                .iter()
                .map(|since| now.saturating_sub(*since));
            let old: Vec<_> = waits.filter(|it| *it >= age).collect();
            let count = old.len() as u64;
            let floors = self.floors.of(queue.netns, || Floors::new(window_ns));
            floors.see(now, count);
            if count == 0 {
                continue;
            }
            let severity = if floors.rising(self.settings.windows) {
                Severity::Confirmed
            } else {
                Severity::Info
            };
            let subject = Subject {
                netns: Some(queue.netns),
                process: queue.receiver.clone(),
                ..Subject::default()
            };
            let mut finding = Finding::new(Kind::InFlightFd, severity, subject)
                .with("floor_risen_by", floors.risen());
            finding.count = Some(count);
            finding.oldest_ns = old.into_iter().max();
            finding.advice = format!("socktrace sockets -x{}", finding.subject.option());
            found.push(finding);
        }
        self.floors.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::InFlight, super::testing::*, *};

    fn told(since: impl Fn(u64) -> Vec<u64>) -> Vec<(u64, Severity)> {
        looks(&mut InFlightFd::new(Settings::default()), 20, |second| {
            World {
                in_flight: vec![InFlight {
                    netns: 1,
                    receiver: None,
                    since_ns: since(second).into_iter().map(|it| it * SECOND).collect(),
                }],
                ..world(second, Vec::new())
            }
        })
    }

    #[test]
    fn a_receiver_that_never_reads_is_confirmed() {
        let told = told(|second| (0..=second).step_by(20).collect());
        assert_eq!(told.first(), Some(&(1, Severity::Info)));
        assert!(told.contains(&(5, Severity::Confirmed)), "{told:?}");
    }

    #[test]
    fn what_is_received_at_once_is_nothing() {
        assert_eq!(told(|second| vec![second - 1; 100]), []);
    }
}
