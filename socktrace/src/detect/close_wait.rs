//! The peer has closed, and the process does not. Nothing in the kernel ends that: the port, the
//! memory and the descriptor stay until the process closes or ends.

use socktrace_common::socket::TcpState;

use super::{
    Detector, Evidence, Finding, Kind, Member, Severity, What, World,
    growth::{Growth, Rule, Seen},
    settings,
};

/// The kernel's clock for what was sent is a jiffy of up to 10 ms, told in milliseconds: what was sent
/// just before the peer closed may seem to be sent after it.
const CLOCK_NS: u64 = 20_000_000;

pub(super) struct CloseWait {
    settings: settings::CloseWait,
    growth: Growth,
}

impl CloseWait {
    pub(super) fn new(settings: settings::CloseWait) -> Self {
        let rule = Rule {
            kind: Kind::CloseWait,
            count: settings.count,
            age_ns: settings.age.ns(),
            window_ns: settings.window.ns(),
            windows: settings.windows,
            many: Severity::Confirmed,
        };
        Self {
            settings,
            growth: Growth::new(rule),
        }
    }

    /// A peer may close its half and still listen: as long as something is sent to it, all is well.
    fn counts(settings: &settings::CloseWait, now: u64, member: &Member) -> bool {
        let sends = member.sent_ns.is_some_and(|sent| {
            sent > member.since_ns.saturating_add(CLOCK_NS)
                && now.saturating_sub(sent) < settings.sending.ns()
        });
        member.what == What::Held(TcpState::CloseWait) && !sends
    }

    fn severity(&self, now: u64, members: &[&Member], seen: &Seen) -> Option<Severity> {
        let alone = |member: &&Member| {
            member.recv_queue == 0
                && now.saturating_sub(member.since_ns) >= self.settings.alone.ns()
        };
        if members.iter().any(alone) {
            return Some(Severity::Confirmed);
        }
        let shown = seen.oldest_ns >= self.settings.shown.ns();
        let severity = self.growth.severity(seen);
        severity.or(shown.then_some(Severity::Info))
    }
}

impl Detector for CloseWait {
    fn kind(&self) -> Kind {
        Kind::CloseWait
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let (settings, now) = (self.settings, world.now_ns);
        let mut groups = Vec::new();
        let counts = |member: &Member| Self::counts(&settings, now, member);
        self.growth.look(world, counts, |group, members, seen| {
            groups.push((group, members, seen));
        });
        for (group, members, seen) in groups {
            let Some(severity) = self.severity(now, &members, &seen) else {
                continue;
            };
            let mut finding = self.growth.finding(severity, group, &members, &seen);
            let with = |count: fn(&&&Member) -> bool| members.iter().filter(count).count() as u64;
            finding.evidence.extend([
                // Read to the end: the program has seen that the peer is gone.
                (
                    "read_to_end",
                    Evidence::Number(with(|it| it.recv_queue == 0)),
                ),
                (
                    "fin_unread",
                    Evidence::Number(with(|it| it.recv_queue == 1)),
                ),
                (
                    "data_unread",
                    Evidence::Number(with(|it| it.recv_queue > 1)),
                ),
            ]);
            finding.advice = format!(
                "socktrace sockets{} state close-wait",
                finding.subject.option()
            );
            found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn member(since: u64) -> Member {
        held(TcpState::CloseWait, since)
    }

    /// One more every `every` seconds, looked at once a minute for `minutes`.
    fn leak(every: usize, minutes: u64) -> Vec<(u64, Severity)> {
        let mut detector = CloseWait::new(settings::CloseWait::default());
        severities(&mut detector, minutes, |second| {
            vec![group(
                (0..=second)
                    .step_by(every)
                    .map(|it| member(it * SECOND))
                    .collect(),
            )]
        })
    }

    #[test]
    fn what_only_accumulates_is_confirmed_within_twenty_minutes() {
        let told = leak(60, 30);
        assert_eq!(told.first(), Some(&(1, Severity::Info)));
        let confirmed = told
            .iter()
            .find(|(_, severity)| *severity == Severity::Confirmed);
        let minute = confirmed.unwrap().0;
        assert!((10..=20).contains(&minute), "{minute}");
    }

    #[test]
    fn a_single_one_is_confirmed_after_an_hour() {
        let told = leak(100_000, 70);
        assert!(told.iter().all(|(minute, severity)| {
            *severity
                == if *minute < 60 {
                    Severity::Info
                } else {
                    Severity::Confirmed
                }
        }));
    }

    #[test]
    fn a_pool_that_notices_late_is_information() {
        let mut detector = CloseWait::new(settings::CloseWait::default());
        // Twenty that go and come back as the pool checks them out.
        let told = severities(&mut detector, 120, |second| {
            let begun = second - second % 1800;
            vec![group(vec![member(begun * SECOND); 20])]
        });
        assert!(
            told.iter().all(|(_, severity)| *severity == Severity::Info),
            "{told:?}"
        );
    }

    #[test]
    fn a_peer_that_still_listens_is_none() {
        let mut detector = CloseWait::new(settings::CloseWait::default());
        let told = severities(&mut detector, 120, |second| {
            let sent_ns = Some((second - 1) * SECOND);
            vec![group(vec![
                Member {
                    sent_ns,
                    ..member(SECOND)
                };
                50
            ])]
        });
        assert_eq!(told, []);
    }

    #[test]
    fn what_was_sent_just_before_is_no_sign_of_life() {
        let settings = settings::CloseWait::default();
        let sent = |sent_ns| Member {
            sent_ns: Some(sent_ns),
            ..member(SECOND)
        };
        let now = 2 * SECOND;
        assert!(CloseWait::counts(&settings, now, &sent(SECOND + 4_000_000)));
        assert!(!CloseWait::counts(
            &settings,
            now,
            &sent(SECOND + 40_000_000)
        ));
    }

    #[test]
    fn what_was_not_read_is_told_apart() {
        let mut detector = CloseWait::new(settings::CloseWait::default());
        let unread = |recv_queue| Member {
            recv_queue,
            ..member(SECOND)
        };
        let mut found = Vec::new();
        detector.look(
            &world(60, vec![group(vec![unread(0), unread(1), unread(7)])]),
            &mut found,
        );
        let number = |name| {
            found[0]
                .evidence
                .iter()
                .find(|it| it.0 == name)
                .unwrap()
                .1
                .clone()
        };
        for name in ["read_to_end", "fin_unread", "data_unread"] {
            assert_eq!(number(name), Evidence::Number(1), "{name}");
        }
        assert_eq!(found[0].advice, "socktrace sockets -p 100 state close-wait");
    }
}
