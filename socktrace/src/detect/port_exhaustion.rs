//! A destination, `bind()` or UDP is about to run out of local ports: the port model says when.

use std::sync::Arc;

use super::{Detector, Evidence, Finding, Kind, Severity, Subject, World};
use crate::{endpoint::Endpoint, ports, process::Process, source::snapshot::Protocol};

pub(super) struct PortExhaustion;

impl Detector for PortExhaustion {
    fn kind(&self) -> Kind {
        Kind::PortExhaustion
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        for row in &world.ports {
            let Some(severity) = row.severity().map(Severity::from) else {
                continue;
            };
            let subject = Subject {
                netns: Some(row.netns),
                process: whose(row, world),
                proto: Some(match row.kind.protocol() {
                    ports::Protocol::Tcp => Protocol::Tcp,
                    ports::Protocol::Udp => Protocol::Udp,
                }),
                remote: remote(row),
                lport: None,
            };
            let mut finding = Finding::new(Kind::PortExhaustion, severity, subject)
                .with("left", u64::from(row.ports.left))
                .with("blocked", u64::from(row.ports.blocked))
                .with("time_wait", u64::from(row.kept));
            let signs = row.signs;
            let said = [
                ("second_parity", Some(signs.second_parity)),
                ("times_slower", signs.times_slower),
                ("refused", Some(signs.refused)),
            ];
            for (name, value) in said {
                if let Some(value) = value.filter(|value| *value > 0) {
                    finding = finding.with(name, value.into());
                }
            }
            if let Some(local) = row.kind.local() {
                let local = Evidence::Text(local.to_string());
                finding.evidence.push(("laddr", local));
            }
            finding.used = Some(u64::from(row.ports.used));
            finding.limit = Some(u64::from(row.ports.eligible));
            finding.eta_seconds = row.eta_seconds;
            finding.complete = row.complete;
            finding.advice = format!("socktrace ports --netns {}; {}", row.netns, remedy(row));
            found.push(finding);
        }
    }
}

fn remote(row: &ports::Row) -> Endpoint {
    let remote = row.kind.remote();
    remote.map_or_else(Endpoint::default, |(address, port)| Endpoint {
        address: Some(address),
        port: Some(port),
    })
}

/// Who has most of the ports; or who closed first, where more are kept by connections that are over.
fn whose(row: &ports::Row, world: &World) -> Option<Arc<Process>> {
    let owner = row.owners.iter().find(|owner| owner.pid.is_some());
    let here = world.time_waits.iter().filter(|it| it.netns == row.netns);
    let over = here
        .filter(|it| row.kind.remote().is_none() || it.remote == remote(row))
        .filter(|it| it.process.is_some())
        .max_by_key(|it| it.filled.used);
    let open = owner.map_or(0, |owner| u64::from(owner.count));
    match over {
        Some(over) if over.filled.used > open => over.process.clone(),
        _ => world.process(owner.and_then(|owner| owner.pid)),
    }
}

/// What people do about it.
fn remedy(row: &ports::Row) -> &'static str {
    let half = row.ports.used / 2;
    if row.kept > half {
        "use connections again (nginx: keepalive in the upstream block)"
    } else if row.ports.blocked > half {
        "set IP_BIND_ADDRESS_NO_PORT before bind(), or do not bind before connect()"
    } else if row.kind.protocol() == ports::Protocol::Udp {
        "use one socket for many peers, and close what is done with"
    } else {
        "close what is done with, or connect from more addresses"
    }
}

impl From<ports::Severity> for Severity {
    fn from(severity: ports::Severity) -> Self {
        match severity {
            ports::Severity::Critical => Self::Critical,
            ports::Severity::Warning => Self::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Descriptors, Filled, TimeWaited, testing::*},
        *,
    };
    use crate::ports::{Ownership, Row, Signs, Use};

    const OF: u32 = 28_000;

    /// Ports from an address to the destination of [`group`], most of them of process 100.
    fn row(used: u32, eta_seconds: Option<f64>) -> Row {
        let address = [10, 0, 0, 1].into();
        Row {
            netns: 1,
            kind: ports::Kind::Connect {
                local: [10, 0, 0, 9].into(),
                remote: address,
                rport: 5432,
            },
            ports: Use {
                eligible: OF,
                blocked: 0,
                used,
                left: OF - used,
            },
            kept: 0,
            signs: Signs::default(),
            eta_seconds,
            owners: vec![
                Ownership {
                    pid: Some(100),
                    count: used,
                },
                Ownership {
                    pid: None,
                    count: 3,
                },
            ],
            complete: true,
        }
    }

    fn told(row: Row, time_waits: Vec<TimeWaited>) -> Option<Finding> {
        let mut found = Vec::new();
        let world = World {
            ports: vec![row],
            time_waits,
            descriptors: vec![Descriptors {
                process: process(100),
                filled: Filled::default(),
                eta_seconds: None,
            }],
            ..world(60, Vec::new())
        };
        PortExhaustion.look(&world, &mut found);
        found.pop()
    }

    #[test]
    fn a_destination_that_runs_out_is_told_with_who_has_the_ports() {
        let found = told(row(15_000, Some(300.0)), Vec::new()).unwrap();
        assert_eq!(found.severity, Severity::Warning);
        assert_eq!(found.subject.process, Some(process(100)));
        assert_eq!(found.subject.remote, group(Vec::new()).key.remote);
        assert_eq!((found.used, found.limit), (Some(15_000), Some(28_000)));
        assert_eq!(found.eta_seconds, Some(300.0));
        assert!(found.evidence.contains(&("left", Evidence::Number(13_000))));
        let severity = |row| told(row, Vec::new()).map(|found| found.severity);
        assert_eq!(severity(row(15_000, Some(59.0))), Some(Severity::Critical));
        assert_eq!(severity(row(22_400, None)), Some(Severity::Warning));
        assert_eq!(severity(row(OF, None)), Some(Severity::Critical));
    }

    #[test]
    fn what_connections_told_of_the_search_is_evidence() {
        let signs = Signs {
            second_parity: 32,
            times_slower: Some(50),
            refused: 0,
        };
        let found = told(
            Row {
                signs,
                ..row(23_000, None)
            },
            Vec::new(),
        )
        .unwrap();
        let has = |name, value| found.evidence.contains(&(name, Evidence::Number(value)));
        assert!(has("second_parity", 32) && has("times_slower", 50));
        assert!(!found.evidence.iter().any(|(name, _)| *name == "refused"));
    }

    #[test]
    fn a_pool_that_stays_and_a_burst_that_is_far_from_the_end_are_nothing() {
        assert_eq!(told(row(20_000, None), Vec::new()), None);
        assert_eq!(told(row(13_000, Some(50.0)), Vec::new()), None);
        assert_eq!(told(row(15_000, Some(3600.0)), Vec::new()), None);
    }

    #[test]
    fn who_closed_first_answers_for_what_is_over() {
        let over = Row {
            kept: 24_000,
            owners: vec![Ownership {
                pid: None,
                count: 24_000,
            }],
            ..row(24_000, None)
        };
        let waited = |pid, remote| TimeWaited {
            netns: 1,
            process: Some(process(pid)),
            remote,
            filled: Filled {
                used: 24_000,
                limit: u64::from(OF),
            },
        };
        let there = group(Vec::new()).key.remote;
        let waits = vec![waited(300, Endpoint::default()), waited(200, there)];
        let found = told(over, waits).unwrap();
        assert_eq!(found.subject.process, Some(process(200)));
        assert!(found.advice.contains("keepalive"), "{}", found.advice);
    }
}
