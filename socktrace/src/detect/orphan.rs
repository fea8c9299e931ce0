//! Connections that nobody holds and that do not end: the kernel sends what was left, or waits for
//! a FIN. It kills them when there are too many, and that shows as data that never arrives.

use socktrace_common::socket::TcpState;

use super::{
    Detector, Finding, Kind, Member, Severity, Subject, What, World, settings::Orphan as Settings,
};

pub(super) struct Orphan(Settings);

impl Orphan {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }

    /// Of all the machine: the limit is one for all namespaces.
    fn limit(&self, world: &World, found: &mut Vec<Finding>) {
        let Some(filled) = world.orphans else { return };
        let Some(severity) = Severity::of_ratio(filled, self.0.warning, self.0.critical) else {
            return;
        };
        let nobody = Subject::default();
        let mut finding = Finding::of_limit(Kind::Orphan, severity, nobody, filled);
        finding.advice = String::from("socktrace sockets -t state fin-wait1");
        found.push(finding);
    }

    fn is_stuck(&self, now: u64, member: &Member) -> bool {
        member.what == What::Orphan(TcpState::FinWait1)
            && member.send_queue > 0
            && now.saturating_sub(member.since_ns) >= self.0.stuck.ns()
    }
}

impl Detector for Orphan {
    fn kind(&self) -> Kind {
        Kind::Orphan
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        self.limit(world, found);
        let now = world.now_ns;
        for group in &world.groups {
            let stuck: Vec<_> = group
                .members
                .iter()
                .filter(|member| self.is_stuck(now, member))
                .collect();
            if (stuck.len() as u64) < self.0.count {
                continue;
            }
            let unsent = stuck.iter().map(|it| u64::from(it.send_queue)).sum();
            let mut finding = Finding::new(Kind::Orphan, Severity::Info, Subject::of(group))
                .with("bytes_unsent", unsent);
            finding.count = Some(stuck.len() as u64);
            let oldest = stuck.iter().map(|it| it.since_ns).min();
            finding.oldest_ns = oldest.map(|since| now.saturating_sub(since));
            finding.complete = stuck.iter().all(|it| it.complete);
            finding.opened_by(&stuck);
            finding.advice = String::from("socktrace sockets -t state fin-wait1");
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Filled, super::testing::*, *};

    fn at(used: u64) -> Vec<(u64, Severity)> {
        looks(&mut Orphan::new(Settings::default()), 1, |second| World {
            orphans: Some(Filled { used, limit: 1000 }),
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn far_below_the_limit_the_kernel_begins_to_kill() {
        assert_eq!(at(249), []);
        assert_eq!(at(250), [(1, Severity::Warning)]);
        assert_eq!(at(500), [(1, Severity::Critical)]);
    }

    #[test]
    fn data_that_a_peer_does_not_take_is_mentioned() {
        let stuck = |send_queue| Member {
            what: What::Orphan(TcpState::FinWait1),
            send_queue,
            ..held(TcpState::FinWait1, SECOND)
        };
        let mut detector = Orphan::new(Settings::default());
        let told = severities(&mut detector, 2, |_| vec![group(vec![stuck(9); 10])]);
        assert_eq!(told, [(2, Severity::Info)]);
        let told = severities(&mut detector, 2, |_| vec![group(vec![stuck(0); 10])]);
        assert_eq!(told, []);
    }
}
