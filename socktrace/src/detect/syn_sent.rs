//! A destination does not answer: connections to it stay in `SYN_SENT`, each with its port, until
//! the kernel gives up after two minutes. No leak of the process.

use socktrace_common::socket::TcpState;

use super::{
    Detector, Finding, Kind, Member, Severity, Subject, What, World, settings::SynSent as Settings,
};

pub(super) struct SynSent(Settings);

impl SynSent {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }

    fn waits(&self, now: u64, member: &Member) -> bool {
        member.what == What::Held(TcpState::SynSent)
            && now.saturating_sub(member.since_ns) >= self.0.age.ns()
    }
}

impl Detector for SynSent {
    fn kind(&self) -> Kind {
        Kind::SynSent
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let now = world.now_ns;
        for group in &world.groups {
            let waiting: Vec<_> = group
                .members
                .iter()
                .filter(|member| self.waits(now, member))
                .collect();
            let count = waiting.len() as u64;
            // Where many connect, some are always on their way.
            let least = self.0.count.max(group.members.len() as u64 / 10);
            if count < least.max(1) {
                continue;
            }
            let mut finding = Finding::new(self.kind(), Severity::Warning, Subject::of(group))
                .with("open_there", group.members.len() as u64);
            finding.count = Some(count);
            let oldest = waiting.iter().map(|it| it.since_ns).min();
            finding.oldest_ns = oldest.map(|since| now.saturating_sub(since));
            finding.complete = waiting.iter().all(|it| it.complete);
            finding.opened_by(&waiting);
            let port = group.key.remote.port.unwrap_or_default();
            finding.advice = format!("socktrace trace -D {port} --event connect");
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn told(count: usize, age: u64) -> Vec<(u64, Severity)> {
        severities(&mut SynSent::new(Settings::default()), 1, |second| {
            let since = (second - age) * SECOND;
            vec![group(vec![held(TcpState::SynSent, since); count])]
        })
    }

    #[test]
    fn many_that_wait_long_are_a_warning() {
        assert_eq!(told(20, 4), [(1, Severity::Warning)]);
    }

    #[test]
    fn few_or_fresh_ones_are_nothing() {
        assert_eq!(told(19, 30), []);
        assert_eq!(told(500, 1), []);
    }
}
