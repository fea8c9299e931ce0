//! The table of tracked connections fills up: then new connections of the namespace are dropped,
//! whoever makes them.

use super::{Detector, Finding, Kind, Severity, Subject, World, settings::Conntrack as Settings};

pub(super) struct Conntrack(Settings);

impl Conntrack {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
}

impl Detector for Conntrack {
    fn kind(&self) -> Kind {
        Kind::Conntrack
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        for (netns, filled) in &world.conntrack {
            let Some(severity) = Severity::of_ratio(*filled, self.0.warning, self.0.critical)
            else {
                continue;
            };
            let subject = Subject {
                netns: Some(*netns),
                ..Subject::default()
            };
            let mut finding = Finding::of_limit(Kind::Conntrack, severity, subject, *filled);
            finding.advice = String::from("look at net.netfilter.nf_conntrack_max");
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filled, testing::*},
        *,
    };

    #[test]
    fn it_is_told_when_it_fills_up() {
        let mut detector = Conntrack::new(Settings::default());
        let told = looks(&mut detector, 100, |second| World {
            conntrack: vec![(
                7,
                Filled {
                    used: second / 60,
                    limit: 100,
                },
            )],
            ..world(second, Vec::new())
        });
        assert_eq!(told[0], (80, Severity::Warning));
        assert_eq!(told[15], (95, Severity::Critical));
    }
}
