//! More and more connections grow older than their kind usually does. Counts alone prove nothing:
//! autocorrelated traffic, warm-up and daily waves grow too. Old ones do, if traffic is stationary,
//! only as fast as they go; so what is counted here are those that have outlived their kind
//! by far. It stays a suspicion until something else confirms it.

use std::collections::VecDeque;

use socktrace_common::socket::TcpState;

use super::{
    Detector, Evidence, Finding, Group, Key, Kind, Member, Severity, Subject, What, World,
    history::Histories, settings::IdleGrowth as Settings,
};

pub(super) struct IdleGrowth(Cohort);

impl IdleGrowth {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Cohort::new(settings, Kind::IdleGrowth))
    }
}

impl Detector for IdleGrowth {
    fn kind(&self) -> Kind {
        Kind::IdleGrowth
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let counts = |member: &Member| member.what == What::Held(TcpState::Established);
        self.0.look(world, counts, found);
    }
}

/// The age cohort rule.
pub(super) struct Cohort {
    settings: Settings,
    kind: Kind,
    looked: Option<u64>,
    histories: Histories<Key, Old>,
}

/// A burst that stays grows old in a step or two; a leak does so again and again.
const RISES: usize = 4;

/// How many were old, look by look.
#[derive(Debug, Default)]
struct Old {
    began: u64,
    /// When, and how many.
    counts: VecDeque<(u64, u64)>,
    /// Looks in a row in which the rule held.
    held: u32,
    severity: Option<Severity>,
}

impl Cohort {
    pub(super) fn new(settings: Settings, kind: Kind) -> Self {
        Self {
            settings,
            kind,
            looked: None,
            histories: Histories::default(),
        }
    }

    pub(super) fn look(
        &mut self,
        world: &World,
        counts: impl Fn(&Member) -> bool,
        found: &mut Vec<Finding>,
    ) {
        let now = world.now_ns;
        let due = self
            .looked
            .is_none_or(|looked| now.saturating_sub(looked) >= self.settings.every.ns());
        if due {
            self.looked = Some(now);
        }
        self.histories.begin();
        for group in &world.groups {
            if !group.members.iter().any(&counts) {
                continue;
            }
            let old = self.histories.of(group.key, || Old {
                began: now,
                ..Old::default()
            });
            let age = suspect_age(&self.settings, group);
            let suspects: Vec<_> = group
                .members
                .iter()
                .filter(|it| counts(it) && is_old(&self.settings, it, now, age))
                .collect();
            if due {
                old.see(&self.settings, now, suspects.len() as u64);
            }
            if let Some(severity) = old.severity {
                found.push(self.finding(severity, group, &suspects, now, age));
            }
        }
        self.histories.end();
    }

    fn finding(
        &self,
        severity: Severity,
        group: &Group,
        suspects: &[&Member],
        now: u64,
        age: u64,
    ) -> Finding {
        let mut finding = Finding::new(self.kind, severity, Subject::of(group));
        finding.count = Some(suspects.len() as u64);
        let oldest = suspects.iter().map(|it| it.born_ns).min();
        finding.oldest_ns = oldest.map(|born| now.saturating_sub(born));
        finding.complete = suspects.iter().all(|it| it.complete);
        finding.opened_by(suspects);
        finding.evidence = vec![
            ("older_than_seconds", Evidence::Number(age / 1_000_000_000)),
            ("open", Evidence::Number(group.members.len() as u64)),
        ];
        if let Some(usual) = group.usual_ns {
            let usual = Evidence::Number(usual / 1_000_000_000);
            finding.evidence.push(("usual_seconds", usual));
        }
        finding.advice = format!("socktrace sockets{}", finding.subject.option());
        finding
    }
}

/// The age from which a socket of the group is suspect, nanoseconds.
fn suspect_age(settings: &Settings, group: &Group) -> u64 {
    let usual = group.usual_ns.unwrap_or(settings.usual.ns());
    let age = usual.saturating_mul(u64::from(settings.lifetimes));
    age.max(settings.age.ns())
}

fn is_old(settings: &Settings, member: &Member, now: u64, age: u64) -> bool {
    let idle = |since: u64| now.saturating_sub(since) > settings.idle.ns();
    now.saturating_sub(member.born_ns) > age && member.idle_since_ns.is_none_or(idle)
}

impl Old {
    fn see(&mut self, settings: &Settings, now: u64, count: u64) {
        self.counts.push_back((now, count));
        let history = settings.history.ns();
        while self
            .counts
            .front()
            .is_some_and(|(then, _)| now.saturating_sub(*then) > history)
        {
            self.counts.pop_front();
        }
        let counts = self.counts.iter().map(|(_, count)| *count);
        let lowest = counts.clone().min().unwrap_or_default();
        let highest = counts.clone().max().unwrap_or_default();
        let steps = self.counts.len().saturating_sub(1);
        let pairs = counts.clone().zip(counts.skip(1));
        let steady = pairs
            .clone()
            .filter(|(before, after)| after >= before)
            .count();
        let rises = pairs.filter(|(before, after)| after > before).count();
        let holds = now.saturating_sub(self.began) >= history
            && count.saturating_sub(lowest) >= settings.growth
            && count == highest
            && rises >= RISES
            && steady * 5 >= steps * 4;
        self.held = if holds { self.held + 1 } else { 0 };
        self.severity = (self.held >= settings.looks).then_some(Severity::Suspect);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn member(born: u64) -> Member {
        held(TcpState::Established, born * SECOND)
    }

    fn told(minutes: u64, groups: impl Fn(u64) -> Vec<Group>) -> Vec<(u64, Severity)> {
        severities(&mut IdleGrowth::new(Settings::default()), minutes, groups)
    }

    /// Of a group whose sockets usually live for ten seconds.
    fn short(members: Vec<Member>) -> Vec<Group> {
        let usual_ns = Some(10 * SECOND);
        vec![Group {
            usual_ns,
            ..group(members)
        }]
    }

    #[test]
    fn leaks_of_twelve_and_of_sixty_an_hour_are_found_within_95_minutes() {
        for every in [300, 60] {
            let told = told(180, |second| {
                short((0..=second).step_by(every).map(member).collect())
            });
            let first = told.first().unwrap().0;
            assert!((60..=95).contains(&first), "every {every} s: {first}");
        }
    }

    #[test]
    fn a_pool_a_burst_and_websockets_in_use_raise_nothing() {
        let pool = told(600, |_| short(vec![member(1); 100]));
        assert_eq!(pool, []);
        let burst = told(600, |second| {
            let open = if (3600..7200).contains(&second) {
                500
            } else {
                5
            };
            short(vec![member(second - second % 3600 + 1); open])
        });
        assert_eq!(burst, []);
        let used = told(600, |second| {
            let sockets = (0..=second).step_by(30).map(|born| Member {
                idle_since_ns: Some((second - 20) * SECOND),
                ..member(born)
            });
            short(sockets.collect())
        });
        assert_eq!(used, []);
    }

    #[test]
    fn what_ends_is_no_longer_said() {
        let told = told(300, |second| {
            let leaked = if second < 9_000 {
                (0..=second).step_by(60).map(member).collect()
            } else {
                vec![member(second)]
            };
            short(leaked)
        });
        assert!(told.last().unwrap().0 <= 150, "{told:?}");
    }
}
