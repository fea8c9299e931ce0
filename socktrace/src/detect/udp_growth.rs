//! UDP sockets only accumulate. The kernel keeps no times for them, so their ages are all there is:
//! the rule is that of connections that grow old.

use super::{
    Detector, Finding, Kind, Member, What, World, idle_growth::Cohort, settings::IdleGrowth,
};

pub(super) struct UdpGrowth(Cohort);

impl UdpGrowth {
    pub(super) fn new(settings: IdleGrowth) -> Self {
        Self(Cohort::new(settings, Kind::UdpGrowth))
    }
}

impl Detector for UdpGrowth {
    fn kind(&self) -> Kind {
        Kind::UdpGrowth
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let counts = |member: &Member| member.what == What::Datagram;
        self.0.look(world, counts, found);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn datagram(born: u64) -> Member {
        Member {
            what: What::Datagram,
            idle_since_ns: None,
            ..held(socktrace_common::socket::TcpState::Close, born * SECOND)
        }
    }

    #[test]
    fn a_resolver_that_forgets_to_close_is_suspect() {
        let mut detector = UdpGrowth::new(IdleGrowth::default());
        let told = severities(&mut detector, 180, |second| {
            vec![group((0..=second).step_by(20).map(datagram).collect())]
        });
        assert!(
            told.first().is_some_and(|(minute, _)| *minute <= 150),
            "{told:?}"
        );
    }

    #[test]
    fn a_resolver_that_closes_is_not() {
        let mut detector = UdpGrowth::new(IdleGrowth::default());
        let told = severities(&mut detector, 600, |second| {
            vec![group(
                (second.saturating_sub(30)..second).map(datagram).collect(),
            )]
        });
        assert_eq!(told, []);
    }
}
