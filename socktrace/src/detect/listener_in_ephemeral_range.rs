//! A listener's port may be chosen for an outgoing connection while the server is down: then it
//! cannot start, and nobody sees why. While it listens, the port is lost to every `connect()` of
//! the namespace.

use super::{Detector, Finding, Kind, Severity, Subject, World};

pub(super) struct ListenerInEphemeralRange;

impl Detector for ListenerInEphemeralRange {
    fn kind(&self) -> Kind {
        Kind::ListenerInEphemeralRange
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        for listener in world.listeners.iter().filter(|it| it.in_ephemeral_range) {
            let subject = Subject {
                netns: Some(listener.netns),
                process: listener.owner.clone(),
                proto: Some(listener.proto),
                lport: listener.local.port,
                ..Subject::default()
            };
            // It costs nothing until it happens, and is the same every day.
            let mut finding = Finding::new(self.kind(), Severity::Info, subject);
            let port = listener.local.port.unwrap_or_default();
            finding.advice = format!("add {port} to net.ipv4.ip_local_reserved_ports");
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Listener, super::testing::*, *};

    #[test]
    fn a_port_that_can_be_taken_is_mentioned_and_others_are_not() {
        for (in_ephemeral_range, expected) in [(true, vec![(1, Severity::Info)]), (false, vec![])] {
            let told = looks(&mut ListenerInEphemeralRange, 1, |second| World {
                listeners: vec![Listener {
                    in_ephemeral_range,
                    ..listener(0, 128)
                }],
                ..world(second, Vec::new())
            });
            assert_eq!(told, expected);
        }
    }
}
