//! Sockets that a process created and never connected, bound or used. That a program keeps a few is
//! no fault, so only growth tells, and growth alone is a suspicion.

use super::{
    Detector, Finding, Kind, Member, Severity, What, World,
    growth::{Growth, Rule},
    settings,
};

pub(super) struct NeverConnected(Growth);

impl NeverConnected {
    pub(super) fn new(settings: settings::NeverConnected) -> Self {
        Self(Growth::new(Rule {
            kind: Kind::NeverConnected,
            count: settings.count,
            age_ns: settings.age.ns(),
            window_ns: settings.window.ns(),
            windows: settings.windows,
            many: Severity::Suspect,
        }))
    }
}

impl Detector for NeverConnected {
    fn kind(&self) -> Kind {
        Kind::NeverConnected
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let counts = |member: &Member| member.what == What::Idle;
        self.0.simply(world, counts, found, |finding| {
            format!("socktrace sockets{}", finding.subject.option())
        });
        // One that waits to be used is nobody's business.
        found.retain(|it| it.kind != Kind::NeverConnected || it.severity > Severity::Info);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn idle(since: u64) -> Member {
        Member {
            what: What::Idle,
            ..held(socktrace_common::socket::TcpState::Close, since * SECOND)
        }
    }

    #[test]
    fn growth_alone_is_a_suspicion() {
        let mut detector = NeverConnected::new(settings::NeverConnected::default());
        let told = severities(&mut detector, 60, |second| {
            vec![group((0..=second).step_by(60).map(idle).collect())]
        });
        assert_eq!(told.last(), Some(&(60, Severity::Suspect)));
        assert!(told[0].0 <= 25, "{told:?}");
    }

    #[test]
    fn a_few_kept_for_later_are_nothing() {
        let mut detector = NeverConnected::new(settings::NeverConnected::default());
        let told = severities(&mut detector, 120, |_| vec![group(vec![idle(1); 50])]);
        assert_eq!(told, []);
    }
}
