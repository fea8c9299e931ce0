//! What stands: findings begin, change and end, each told once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Finding, Severity};
use crate::endpoint::Endpoint;

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is there.
    Began,
    /// It got worse or better, or much more of it.
    Changed,
    /// It is not there any more.
    Cleared,
}

impl News {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Changed => "changed",
            Self::Cleared => "cleared",
        }
    }
}

/// A finding over time. Times are of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Story {
    /// What was said last.
    pub finding: Finding,
    /// When it was said first.
    pub since_ns: u64,
    /// When it was said last.
    seen_ns: u64,
    /// What people were told last.
    told: (Severity, u64),
}

impl Story {
    /// When it was said last.
    pub fn seen_ns(&self) -> u64 {
        self.seen_ns
    }
}

/// Since when there is a finding, for whoever starts again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    kind: String,
    netns: Option<u32>,
    pid: Option<u32>,
    remote: Option<String>,
    lport: Option<u16>,
    since_ns: u64,
}

impl Remembered {
    fn of(finding: &Finding, since_ns: u64) -> Self {
        let subject = &finding.subject;
        let remote = subject.remote;
        Self {
            kind: finding.kind.word().to_owned(),
            netns: subject.netns,
            pid: subject.process.as_ref().map(|process| process.pid),
            remote: (remote != Endpoint::default()).then(|| format!("{remote:?}")),
            lport: subject.lport,
            since_ns,
        }
    }
}

/// What stands now.
#[derive(Debug)]
pub struct Standing {
    stories: Vec<Story>,
    /// What stood before we looked; the first story about the same is its continuation.
    remembered: Vec<Remembered>,
    /// What was not said for so long is over: what comes and goes within it is one story.
    hold: Duration,
}

impl Standing {
    /// A finding is over when it was not said for `hold`.
    pub fn new(hold: Duration) -> Self {
        Self {
            stories: Vec::new(),
            remembered: Vec::new(),
            hold,
        }
    }

    /// What to remember.
    pub fn to_remember(&self) -> Vec<Remembered> {
        let stories = self.stories.iter();
        let stand = stories.map(|story| Remembered::of(&story.finding, story.since_ns));
        stand.chain(self.remembered.iter().cloned()).collect()
    }

    /// What stood before we looked.
    pub fn remember(&mut self, mut remembered: Vec<Remembered>) {
        for story in &mut self.stories {
            let same = |it: &Remembered| *it == Remembered::of(&story.finding, it.since_ns);
            if let Some(place) = remembered.iter().position(same) {
                story.since_ns = story.since_ns.min(remembered.swap_remove(place).since_ns);
            }
        }
        self.remembered = remembered;
    }

    /// Since when it is so, if that is remembered.
    fn recall(&mut self, finding: &Finding) -> Option<u64> {
        let same = |it: &Remembered| *it == Remembered::of(finding, it.since_ns);
        let place = self.remembered.iter().position(same)?;
        Some(self.remembered.swap_remove(place).since_ns)
    }

    /// Takes in what was said in a look at `now`, and tells what is news.
    pub fn take(&mut self, now: u64, found: Vec<Finding>, mut tell: impl FnMut(News, &Story)) {
        for finding in found {
            let identity = finding.identity();
            let mut stories = self.stories.iter();
            let known = stories.position(|story| identity == story.finding.identity());
            let Some(place) = known else {
                let since_ns = self.recall(&finding).unwrap_or(now);
                let told = (finding.severity, finding.count.unwrap_or_default());
                let story = Story {
                    finding,
                    since_ns,
                    seen_ns: now,
                    told,
                };
                tell(News::Began, &story);
                self.stories.push(story);
                continue;
            };
            let story = &mut self.stories[place];
            story.finding = finding;
            story.seen_ns = now;
            let (severity, count) = story.told;
            let more = story.finding.count.unwrap_or_default();
            if severity != story.finding.severity || more >= count.saturating_mul(2).max(count + 1)
            {
                story.told = (story.finding.severity, more);
                tell(News::Changed, story);
            }
        }
        let hold = u64::try_from(self.hold.as_nanos()).unwrap_or(u64::MAX);
        self.stories.retain(|story| {
            let stays = story.seen_ns == now || now.saturating_sub(story.seen_ns) < hold;
            if !stays {
                tell(News::Cleared, story);
            }
            stays
        });
    }

    /// What stands, the worst first.
    pub fn stories(&self) -> Vec<&Story> {
        let mut stories: Vec<_> = self.stories.iter().collect();
        stories.sort_by_key(|story| {
            let finding = &story.finding;
            (
                std::cmp::Reverse(finding.severity),
                finding.kind,
                std::cmp::Reverse(finding.count),
            )
        });
        stories
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Kind, Subject},
        *,
    };

    fn finding(severity: Severity, count: u64) -> Finding {
        Finding {
            count: Some(count),
            ..Finding::new(Kind::CloseWait, severity, Subject::default())
        }
    }

    #[test]
    fn a_story_is_told_when_it_begins_changes_and_ends() {
        let mut standing = Standing::new(Duration::from_nanos(20));
        let mut told = Vec::new();
        let looks = [
            vec![finding(Severity::Info, 10)],
            vec![finding(Severity::Info, 11)],
            vec![finding(Severity::Info, 20)],
            vec![finding(Severity::Confirmed, 20)],
            vec![],
            vec![finding(Severity::Confirmed, 21)],
            vec![],
            vec![],
            vec![],
        ];
        for (now, found) in (0..).step_by(10).zip(looks) {
            standing.take(now, found, |news, story| {
                told.push((now, news, story.finding.severity, story.since_ns));
            });
        }
        assert_eq!(
            told,
            [
                (0, News::Began, Severity::Info, 0),
                (20, News::Changed, Severity::Info, 0),
                (30, News::Changed, Severity::Confirmed, 0),
                // A look without it, and one with it again, are no news.
                (70, News::Cleared, Severity::Confirmed, 0),
            ]
        );
        assert!(standing.stories().is_empty());
    }

    #[test]
    fn the_worst_comes_first() {
        let mut standing = Standing::new(Duration::from_secs(1));
        let mut another = finding(Severity::Confirmed, 3);
        another.subject.lport = Some(80);
        standing.take(0, vec![finding(Severity::Info, 50), another], |_, _| {});
        let severities: Vec<_> = standing
            .stories()
            .iter()
            .map(|story| story.finding.severity)
            .collect();
        assert_eq!(severities, [Severity::Confirmed, Severity::Info]);
    }
}
