//! The connection is over, reset or closed from the other side, and its descriptor is still open.
//! No dump of the kernel shows such a socket, so neither does ss.

use super::{
    Detector, Finding, Kind, Member, Severity, What, World,
    growth::{Growth, Rule},
    settings,
};

pub(super) struct DeadOpen(Growth);

impl DeadOpen {
    pub(super) fn new(settings: settings::DeadOpen) -> Self {
        Self(Growth::new(Rule {
            kind: Kind::DeadOpen,
            count: settings.count,
            age_ns: settings.age.ns(),
            window_ns: settings.window.ns(),
            windows: settings.windows,
            many: Severity::Confirmed,
        }))
    }
}

impl Detector for DeadOpen {
    fn kind(&self) -> Kind {
        Kind::DeadOpen
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let counts = |member: &Member| member.what == What::Dead;
        self.0.simply(world, counts, found, |finding| {
            format!("socktrace sockets{} state close", finding.subject.option())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn dead(since: u64) -> Member {
        Member {
            what: What::Dead,
            ..held(socktrace_common::socket::TcpState::Close, since * SECOND)
        }
    }

    #[test]
    fn a_program_that_ignores_resets_is_confirmed() {
        let mut detector = DeadOpen::new(settings::DeadOpen::default());
        let told = severities(&mut detector, 30, |second| {
            vec![group((0..=second).step_by(30).map(dead).collect())]
        });
        assert!(told.contains(&(25, Severity::Confirmed)), "{told:?}");
    }

    #[test]
    fn what_is_closed_a_little_later_is_nothing() {
        let mut detector = DeadOpen::new(settings::DeadOpen::default());
        let told = severities(&mut detector, 120, |second| {
            let young = second.saturating_sub(100)..second;
            vec![group(young.step_by(2).map(dead).collect())]
        });
        assert_eq!(told, []);
    }
}
