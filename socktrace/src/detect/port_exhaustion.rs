//! A destination, `bind()` or UDP is about to run out of local ports: the port model says when.

use super::{Detector, Evidence, Finding, Kind, Severity, Subject, World};
use crate::{endpoint::Endpoint, ports, source::snapshot::Protocol};

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
            let most = row.owners.iter().find_map(|owner| owner.pid);
            let subject = Subject {
                netns: Some(row.netns),
                process: world.process(most),
                proto: Some(match row.kind.protocol() {
                    ports::Protocol::Tcp => Protocol::Tcp,
                    ports::Protocol::Udp => Protocol::Udp,
                }),
                remote: row
                    .kind
                    .remote()
                    .map_or_else(Endpoint::default, |(address, port)| Endpoint {
                        address: Some(address),
                        port: Some(port),
                    }),
                lport: None,
            };
            let mut finding = Finding::new(Kind::PortExhaustion, severity, subject)
                .with("left", u64::from(row.ports.left))
                .with("blocked", u64::from(row.ports.blocked));
            if let Some(local) = row.kind.local() {
                let local = Evidence::Text(local.to_string());
                finding.evidence.push(("laddr", local));
            }
            finding.used = Some(u64::from(row.ports.used));
            finding.limit = Some(u64::from(row.ports.eligible));
            finding.eta_seconds = row.eta_seconds;
            finding.complete = row.complete;
            finding.advice = format!("socktrace ports --netns {}", row.netns);
            found.push(finding);
        }
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
