//! The peer of a Unix socket is gone, and the process does not close: `CLOSE_WAIT` under another
//! name.

use super::{
    Detector, Finding, Kind, Member, Severity, What, World,
    growth::{Growth, Rule},
    settings,
};

pub(super) struct UnixHalfDead(Growth);

impl UnixHalfDead {
    pub(super) fn new(settings: settings::UnixHalfDead) -> Self {
        Self(Growth::new(Rule {
            kind: Kind::UnixHalfDead,
            count: settings.count,
            age_ns: settings.age.ns(),
            window_ns: settings.window.ns(),
            windows: settings.windows,
            many: Severity::Confirmed,
        }))
    }
}

impl Detector for UnixHalfDead {
    fn kind(&self) -> Kind {
        Kind::UnixHalfDead
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let counts = |member: &Member| member.what == What::HalfDead;
        self.0.simply(world, counts, found, |finding| {
            format!("socktrace sockets -x{}", finding.subject.option())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn unix(what: What, since: u64) -> Member {
        Member {
            what,
            ..held(
                socktrace_common::socket::TcpState::Established,
                since * SECOND,
            )
        }
    }

    #[test]
    fn what_only_accumulates_is_confirmed() {
        let mut detector = UnixHalfDead::new(settings::UnixHalfDead::default());
        let told = severities(&mut detector, 30, |second| {
            let dead = (0..=second).step_by(60).map(|it| unix(What::HalfDead, it));
            vec![group(dead.collect())]
        });
        assert!(told.contains(&(25, Severity::Confirmed)), "{told:?}");
    }

    #[test]
    fn a_crowd_of_clients_is_nothing() {
        let mut detector = UnixHalfDead::new(settings::UnixHalfDead::default());
        let told = severities(&mut detector, 60, |second| {
            let alive = (0..=second).step_by(10).map(|it| unix(What::Unix, it));
            vec![group(alive.collect())]
        });
        assert_eq!(told, []);
    }
}
