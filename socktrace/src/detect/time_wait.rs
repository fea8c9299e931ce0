//! Connections that are over keep their ports for a minute, charged to whoever closed first.

use super::{Detector, Finding, Kind, Severity, Subject, World, settings::TimeWait as Settings};

pub(super) struct TimeWait(Settings);

impl TimeWait {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
}

impl Detector for TimeWait {
    fn kind(&self) -> Kind {
        Kind::TimeWait
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        for waited in &world.time_waits {
            let severity = match waited.filled.ratio() {
                ratio if ratio > self.0.critical => Severity::Critical,
                ratio if ratio > self.0.warning => Severity::Warning,
                _ => continue,
            };
            let subject = Subject {
                netns: Some(waited.netns),
                process: waited.process.clone(),
                remote: waited.remote,
                ..Subject::default()
            };
            let mut finding = Finding::of_limit(Kind::TimeWait, severity, subject, waited.filled);
            finding.count = finding.used;
            finding.advice = String::from(
                "use connections again (nginx: keepalive in the upstream block), or let the other \
                 side close first",
            );
            found.push(finding);
        }
        for (netns, filled) in &world.tw_buckets {
            if filled.ratio() <= self.0.buckets {
                continue;
            }
            let subject = Subject {
                netns: Some(*netns),
                ..Subject::default()
            };
            // Beyond it the kernel keeps none: ports are free at once, and late packets of an old
            // connection may meet a new one.
            let severity = Severity::Warning;
            let mut finding = Finding::of_limit(Kind::TimeWait, severity, subject, *filled);
            finding.advice = String::from("look at net.ipv4.tcp_max_tw_buckets");
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filled, TimeWaited, testing::*},
        *,
    };
    use crate::endpoint::Endpoint;

    fn told(used: u64, buckets: u64) -> Vec<(u64, Severity)> {
        looks(&mut TimeWait::new(Settings::default()), 1, |second| World {
            time_waits: vec![TimeWaited {
                netns: 1,
                process: Some(process(100)),
                remote: Endpoint::default(),
                filled: Filled { used, limit: 100 },
            }],
            tw_buckets: vec![(
                1,
                Filled {
                    used: buckets,
                    limit: 100,
                },
            )],
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn ports_that_are_kept_are_told_from_a_third_on() {
        assert_eq!(told(30, 0), []);
        assert_eq!(told(31, 0), [(1, Severity::Warning)]);
        assert_eq!(told(61, 0), [(1, Severity::Critical)]);
    }

    #[test]
    fn so_is_a_namespace_that_has_many() {
        assert_eq!(told(0, 81), [(1, Severity::Warning)]);
    }
}
