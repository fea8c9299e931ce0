//! The rule that several kinds share: many, old, and never fewer.

use super::{
    Evidence, Finding, Group, Key, Kind, Member, Severity, Subject, World,
    history::{Floors, Histories},
};

/// When is what only accumulates a leak?
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    /// So many.
    pub(super) count: u64,
    /// The oldest this old, nanoseconds.
    pub(super) age_ns: u64,
    pub(super) window_ns: u64,
    pub(super) windows: usize,
    /// What many, old and never fewer make it: direct evidence, or growth alone?
    pub(super) many: Severity,
}

/// The rule with what it remembers.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) rule: Rule,
    floors: Histories<Key, Floors>,
}

/// What the rule saw in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) count: u64,
    pub(super) oldest_ns: u64,
    pub(super) rising: bool,
    pub(super) risen: u64,
    pub(super) history_ns: u64,
    pub(super) complete: bool,
}

impl Growth {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            floors: Histories::default(),
        }
    }

    /// Looks at each group's members that `counts`, and hands over those that have any.
    pub(super) fn look<'w>(
        &mut self,
        world: &'w World,
        counts: impl Fn(&Member) -> bool,
        mut each: impl FnMut(&'w Group, Vec<&'w Member>, Seen),
    ) {
        self.floors.begin();
        for group in &world.groups {
            let members: Vec<_> = group.members.iter().filter(|it| counts(it)).collect();
            let count = members.len() as u64;
            let window_ns = self.rule.window_ns;
            let floors = self.floors.of(group.key, || Floors::new(window_ns));
            floors.see(world.now_ns, count);
            let Some(since) = members.iter().map(|it| it.since_ns).min() else {
                continue;
            };
            let seen = Seen {
                count,
                oldest_ns: world.now_ns.saturating_sub(since),
                rising: floors.rising(self.rule.windows),
                risen: floors.risen(),
                history_ns: floors.length_ns(),
                complete: members.iter().all(|it| it.complete),
            };
            each(group, members, seen);
        }
        self.floors.end();
    }

    /// How bad it is; `None` if it is nothing.
    pub(super) fn severity(&self, seen: &Seen) -> Option<Severity> {
        let Rule {
            count,
            age_ns,
            many,
            ..
        } = self.rule;
        if seen.rising && seen.count >= count && seen.oldest_ns >= age_ns {
            Some(many)
        } else if seen.rising && seen.oldest_ns >= age_ns {
            // A few, and they become more.
            Some(Severity::Suspect.min(many))
        } else if seen.oldest_ns >= age_ns {
            Some(Severity::Info)
        } else {
            None
        }
    }

    /// The rule and nothing else, for every group.
    pub(super) fn simply(
        &mut self,
        world: &World,
        counts: impl Fn(&Member) -> bool,
        found: &mut Vec<Finding>,
        advice: impl Fn(&Finding) -> String,
    ) {
        let mut groups = Vec::new();
        self.look(world, counts, |group, members, seen| {
            groups.push((group, members, seen));
        });
        for (group, members, seen) in groups {
            let Some(severity) = self.severity(&seen) else {
                continue;
            };
            let mut finding = self.finding(severity, group, &members, &seen);
            finding.advice = advice(&finding);
            found.push(finding);
        }
    }

    /// A finding about a group.
    pub(super) fn finding(
        &self,
        severity: Severity,
        group: &Group,
        members: &[&Member],
        seen: &Seen,
    ) -> Finding {
        let mut finding = Finding::new(self.rule.kind, severity, Subject::of(group));
        finding.count = Some(seen.count);
        finding.oldest_ns = Some(seen.oldest_ns);
        finding.complete = seen.complete;
        finding.opened_by(members);
        finding.evidence = vec![
            (
                "rising",
                Evidence::Word(if seen.rising { "yes" } else { "no" }),
            ),
            ("floor_risen_by", Evidence::Number(seen.risen)),
            (
                "watched_seconds",
                Evidence::Number(seen.history_ns / 1_000_000_000),
            ),
        ];
        finding
    }
}

impl Subject {
    /// Whom a group's findings are about.
    pub(super) fn of(group: &Group) -> Self {
        Self {
            netns: Some(group.key.netns),
            process: group.owner.clone(),
            proto: Some(group.key.proto),
            remote: group.key.remote,
            lport: group.key.lport,
        }
    }

    /// `-p PID`, for a command that shows more of it; nothing where nobody is known.
    pub(super) fn option(&self) -> String {
        let pid = self.process.as_ref().map(|process| process.pid);
        pid.map_or_else(String::new, |pid| format!(" -p {pid}"))
    }
}
