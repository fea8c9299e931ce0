//! A listener is held by a process that never accepts from it, while the one that called
//! `listen()` has let go. The port stays busy: the server cannot be started again, and whoever
//! connects waits for nobody.
//!
//! Of one that let go before we looked nothing is known but what it left: processes whose group has lost
//! its leader, and who do not accept though somebody waits. A server that a script started looks so,
//! too, when it is stuck; that is as bad, and only suspect.

use std::sync::Arc;

use super::{
    Detector, Evidence, Finding, Kind, Listener, Severity, Subject, World, history::Histories,
    settings::InheritedListener as Settings,
};
use crate::process::Process;

pub(super) struct InheritedListener {
    settings: Settings,
    /// Since when a listener has been so.
    since: Histories<u64, u64>,
}

impl InheritedListener {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            since: Histories::default(),
        }
    }

    /// Did somebody else than those who hold it open it, and does none of them use it?
    fn is_left_over(listener: &Listener) -> Option<Severity> {
        let holds = |pid: u32| listener.holders.iter().any(|holder| holder.pid == pid);
        let unused = listener.accepted.is_some()
            && !listener.holders.is_empty()
            && !listener.acceptors.iter().any(|pid| holds(*pid));
        let waited = listener.queue.used > 0;
        let owner = listener.owner.as_ref().filter(|_| unused)?;
        if !holds(owner.pid) {
            let kept = waited || Self::is_another_program(owner, &listener.holders);
            kept.then_some(Severity::Confirmed)
        } else if waited && listener.left_behind {
            Some(Severity::Suspect)
        } else {
            None
        }
    }

    /// A server that goes into the background is the same program, and may have no visitors yet.
    fn is_another_program(owner: &Process, holders: &[Arc<Process>]) -> bool {
        holders.iter().all(|holder| holder.comm != owner.comm)
    }
}

impl Detector for InheritedListener {
    fn kind(&self) -> Kind {
        Kind::InheritedListener
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        self.since.begin();
        for listener in &world.listeners {
            let Some(severity) = Self::is_left_over(listener) else {
                continue;
            };
            let since = *self.since.of(listener.cookie, || world.now_ns);
            let held_ns = world.now_ns.saturating_sub(since);
            if held_ns < self.settings.age.ns() {
                continue;
            }
            let subject = Subject {
                netns: Some(listener.netns),
                process: listener.holders.first().cloned(),
                proto: Some(listener.proto),
                lport: listener.local.port,
                ..Subject::default()
            };
            let mut finding = Finding::new(Kind::InheritedListener, severity, subject)
                .with("waiting", listener.queue.used);
            finding.count = Some(listener.holders.len() as u64);
            finding.oldest_ns = Some(held_ns);
            if severity == Severity::Suspect {
                let gone = Evidence::Word("gone");
                finding.evidence.push(("leader_of_the_group", gone));
            } else if let Some(owner) = &listener.owner {
                let pid = Evidence::Number(u64::from(owner.pid));
                finding.evidence.push(("opened_by_pid", pid));
                if let Some(comm) = &owner.comm {
                    let comm = Evidence::Text(comm.text().into_owned());
                    finding.evidence.push(("opened_by", comm));
                }
            }
            finding.advice = format!(
                "socktrace sockets -l{}; the port is free when who holds it has ended",
                finding.subject.option()
            );
            found.push(finding);
        }
        self.since.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn told(holders: &[u32], acceptors: &[u32]) -> Vec<(u64, Severity)> {
        waiting(1, holders, acceptors)
    }

    fn waiting(used: u64, holders: &[u32], acceptors: &[u32]) -> Vec<(u64, Severity)> {
        let mut detector = InheritedListener::new(Settings::default());
        looks(&mut detector, 3, |second| World {
            listeners: vec![Listener {
                owner: Some(process(100)),
                holders: holders.iter().map(|pid| process(*pid)).collect(),
                acceptors: acceptors.to_vec(),
                ..listener(used, 128)
            }],
            ..world(second, Vec::new())
        })
    }

    #[test]
    fn a_child_that_keeps_the_port_busy_is_found() {
        assert_eq!(
            told(&[200], &[100]),
            [2, 3].map(|it| (it, Severity::Confirmed))
        );
    }

    #[test]
    fn a_pre_fork_server_is_not() {
        // The master holds it and never accepts; or it is gone, and the workers accept.
        assert_eq!(told(&[100, 200, 201], &[200, 201]), []);
        assert_eq!(told(&[200, 201], &[200]), []);
    }

    #[test]
    fn who_was_left_behind_before_we_looked_is_suspect_while_somebody_waits() {
        let told = |left_behind, used, acceptors: &[u32]| {
            let mut detector = InheritedListener::new(Settings::default());
            looks(&mut detector, 3, |second| World {
                listeners: vec![Listener {
                    left_behind,
                    acceptors: acceptors.to_vec(),
                    ..listener(used, 128)
                }],
                ..world(second, Vec::new())
            })
        };
        assert_eq!(told(true, 1, &[]), [2, 3].map(|it| (it, Severity::Suspect)));
        assert_eq!(told(true, 0, &[]), []);
        assert_eq!(told(true, 1, &[100]), []);
        assert_eq!(told(false, 1, &[]), []);
    }

    #[test]
    fn a_server_that_went_into_the_background_is_not() {
        // The same program, and nobody has come yet.
        assert_eq!(waiting(0, &[200], &[]), []);
    }
}
