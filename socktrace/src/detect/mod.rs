//! Who leaks, and which limit is near: one file for each kind of finding.
//!
//! A detector looks at the [`World`] once in a while, remembers what it needs and says what it
//! finds. It asks nobody, reads no clock and knows no output, so that every finding is a unit test.
//! [`Standing`] makes of what is said again and again what people want to hear: that something
//! began, got worse, is over.

mod accept_queue;
#[cfg(test)]
mod cases;
mod census;
mod close_wait;
mod conntrack;
mod dead_open;
mod fd_limit;
mod fd_trends;
mod file_table;
mod finding;
mod growth;
mod history;
mod idle_growth;
mod in_flight_fd;
mod inherited_listener;
mod lifetimes;
mod limits;
mod listener_in_ephemeral_range;
mod never_connected;
mod orphan;
mod pipe;
mod port_exhaustion;
pub mod settings;
mod sighting;
mod standing;
mod syn_sent;
#[cfg(test)]
mod testing;
mod time_wait;
mod udp_growth;
mod unix_half_dead;
mod world;

pub use self::{
    census::Census,
    fd_trends::FdTrends,
    finding::{Evidence, Finding, Identity, Kind, Severity, Subject},
    lifetimes::Lifetimes,
    limits::{Limit, limits},
    settings::Settings,
    sighting::{SeenAs, Sighting},
    standing::{News, Remembered, Standing, Story},
    world::{Descriptors, Group, InFlight, Key, Listener, Member, Pipes, TimeWaited, What, World},
};

pub use crate::source::machine::Filled;

/// Finds one kind of thing.
pub trait Detector {
    /// What it finds.
    fn kind(&self) -> Kind;

    /// Looks at how things are, and appends what it finds. Called in the order of time.
    fn look(&mut self, world: &World, found: &mut Vec<Finding>);
}

/// All of them.
pub fn all(settings: &Settings) -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(close_wait::CloseWait::new(settings.close_wait)),
        Box::new(dead_open::DeadOpen::new(settings.dead_open)),
        Box::new(never_connected::NeverConnected::new(
            settings.never_connected,
        )),
        Box::new(idle_growth::IdleGrowth::new(settings.idle_growth)),
        Box::new(syn_sent::SynSent::new(settings.syn_sent)),
        Box::new(orphan::Orphan::new(settings.orphan)),
        Box::new(accept_queue::AcceptQueue::new(settings.accept_queue)),
        Box::new(inherited_listener::InheritedListener::new(
            settings.inherited_listener,
        )),
        Box::new(udp_growth::UdpGrowth::new(settings.idle_growth)),
        Box::new(unix_half_dead::UnixHalfDead::new(settings.unix_half_dead)),
        Box::new(pipe::Pipe::new(settings.pipe)),
        Box::new(in_flight_fd::InFlightFd::new(settings.in_flight_fd)),
        Box::new(port_exhaustion::PortExhaustion),
        Box::new(listener_in_ephemeral_range::ListenerInEphemeralRange),
        Box::new(time_wait::TimeWait::new(settings.time_wait)),
        Box::new(fd_limit::FdLimit::new(settings.fd_limit)),
        Box::new(file_table::FileTable::new(settings.file_table)),
        Box::new(conntrack::Conntrack::new(settings.conntrack)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_detector() {
        let kinds: Vec<_> = all(&Settings::default())
            .iter()
            .map(|it| it.kind())
            .collect();
        assert_eq!(kinds, Kind::ALL);
    }
}
