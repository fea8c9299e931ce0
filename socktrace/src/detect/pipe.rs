//! Pipes of which one end is gone: nothing will ever come, or nobody will ever read. A program that
//! looks closes its end; one that forgot keeps a descriptor and up to 64 KiB.

use super::{
    Detector, Finding, Kind, Severity, Subject, World,
    history::{Floors, Histories},
    settings::Pipe as Settings,
};

pub(super) struct Pipe {
    settings: Settings,
    /// By the holder's pid.
    floors: Histories<u32, Floors>,
}

impl Pipe {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            floors: Histories::default(),
        }
    }
}

impl Detector for Pipe {
    fn kind(&self) -> Kind {
        Kind::Pipe
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let (now, age) = (world.now_ns, self.settings.age.ns());
        let window_ns = self.settings.window.ns();
        self.floors.begin();
        for pipes in &world.pipes {
            let ages = pipes.one_ended_since_ns.iter();
            let old: Vec<_> = ages
                .map(|since| now.saturating_sub(*since))
                .filter(|it| *it >= age)
                .collect();
            let count = old.len() as u64;
            let floors = self.floors.of(pipes.holder.pid, || Floors::new(window_ns));
            floors.see(now, count);
            if !floors.rising(self.settings.windows) || count == 0 {
                continue;
            }
            let severity = if count >= self.settings.count {
                Severity::Confirmed
            } else {
                Severity::Suspect
            };
            let subject = Subject {
                process: Some(pipes.holder.clone()),
                ..Subject::default()
            };
            let mut finding =
                Finding::new(Kind::Pipe, severity, subject).with("floor_risen_by", floors.risen());
            finding.count = Some(count);
            finding.oldest_ns = old.into_iter().max();
            finding.advice = format!("socktrace sockets --proto pipe{}", finding.subject.option());
            found.push(finding);
        }
        self.floors.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Pipes, super::testing::*, *};

    fn told(pipes: impl Fn(u64) -> Vec<u64>) -> Vec<(u64, Severity)> {
        looks(&mut Pipe::new(Settings::default()), 60, |second| World {
            pipes: vec![Pipes {
                holder: process(100),
                one_ended_since_ns: pipes(second).into_iter().map(|it| it * SECOND).collect(),
            }],
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn ends_that_only_accumulate_are_confirmed() {
        let told = told(|second| (0..=second).step_by(60).collect());
        assert_eq!(told.last(), Some(&(60, Severity::Confirmed)));
        assert!(told[0].0 <= 25, "{told:?}");
    }

    #[test]
    fn helpers_that_ended_are_nothing() {
        assert_eq!(told(|_| vec![1; 30]), []);
        assert_eq!(told(|second| vec![second; 30]), []);
    }
}
