//! Which news are told: those of findings that are bad enough.

use hashbrown::HashMap;
use sha2::{Digest as _, Sha256};

use super::{Alert, Change, message::Envelope};
use crate::{
    clock::Clock,
    detect::{Identity, News, Severity, Story},
    sink::text,
};

/// Makes alerts of news. One that gets less bad than was asked for is over.
#[derive(Debug)]
pub struct Stream {
    least: Severity,
    host: String,
    /// What was told to be there, and when first.
    active: HashMap<Identity, u64>,
}

impl Stream {
    /// Of findings that are at least so bad.
    pub fn new(least: Severity) -> Self {
        let host = rustix::system::uname();
        Self {
            least,
            host: host.nodename().to_string_lossy().into_owned(),
            active: HashMap::new(),
        }
    }

    /// What to tell of this; `now` is of `CLOCK_MONOTONIC`.
    pub fn take(&mut self, news: News, story: &Story, now: u64, clock: &Clock) -> Option<Alert> {
        let identity = story.finding.identity();
        let active = self.active.get(&identity).copied();
        let wanted = news != News::Cleared && story.finding.severity.is_at_least(self.least);
        let (change, began) = match (active, wanted) {
            (None, false) => return None,
            (None, true) => (Change::Start, now),
            (Some(began), true) => (Change::Update, began),
            (Some(began), false) => (Change::Clear, began),
        };
        if wanted {
            self.active.insert(identity, began);
        } else {
            self.active.remove(&identity);
        }
        Some(self.alert(change, story, (began, now), clock))
    }

    /// Other findings are wanted from now on: what to tell of those that stand.
    pub(super) fn change(
        &mut self,
        least: Severity,
        standing: &[&Story],
        now: u64,
        clock: &Clock,
    ) -> Vec<Alert> {
        self.least = least;
        let mut alerts = Vec::new();
        for story in standing {
            let finding = &story.finding;
            let active = self.active.contains_key(&finding.identity());
            if active != finding.severity.is_at_least(least) {
                alerts.extend(self.take(News::Changed, story, now, clock));
            }
        }
        alerts
    }

    /// What somebody hears who has heard nothing yet.
    pub(super) fn again(&self, story: &Story, now: u64, clock: &Clock) -> Option<Alert> {
        let began = *self.active.get(&story.finding.identity())?;
        Some(self.alert(Change::Start, story, (began, now), clock))
    }

    fn alert(
        &self,
        change: Change,
        story: &Story,
        (began_ns, now_ns): (u64, u64),
        clock: &Clock,
    ) -> Alert {
        let envelope = Envelope {
            change,
            id: &fingerprint(&story.finding.identity()),
            host: &self.host,
            began_ns,
            now_ns,
        };
        Alert::new(&envelope, story, clock)
    }
}

/// 64 bits of a hash that nobody who chooses ports and addresses can aim at another's.
fn fingerprint(identity: &Identity) -> String {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
    let text = [
        identity.kind.word().to_owned(),
        number(identity.netns.map(u64::from)),
        number(identity.pid.map(u64::from)),
        text::endpoint(identity.remote),
        number(identity.lport.map(u64::from)),
    ];
    let hash = Sha256::digest(text.join("/"));
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::testing, *};
    use crate::detect::Standing;

    /// What is told of looks that find these; `None` finds nothing.
    fn told(least: Severity, looks: &[Option<(Severity, u64)>]) -> Vec<(u64, Change, Severity)> {
        let mut stream = Stream::new(least);
        let mut standing = Standing::new(Duration::from_nanos(1));
        let mut told = Vec::new();
        for (now, look) in (0..).step_by(10).zip(looks) {
            let found = look.map(|(severity, count)| testing::finding(severity, count));
            standing.take(now, found.into_iter().collect(), |news, story| {
                let alert = stream.take(news, story, now, &testing::CLOCK);
                told.extend(alert.map(|it| (now, it.change, it.severity)));
            });
        }
        told
    }

    #[test]
    fn what_is_bad_enough_is_told_until_it_is_not() {
        use Severity::{Confirmed, Info, Suspect};
        let looks = [
            Some((Info, 3)),
            Some((Suspect, 3)),
            Some((Suspect, 4)),
            Some((Confirmed, 9)),
            Some((Info, 9)),
            None,
            Some((Confirmed, 9)),
            None,
            None,
        ];
        assert_eq!(
            told(Suspect, &looks),
            [
                (10, Change::Start, Suspect),
                (30, Change::Update, Confirmed),
                (40, Change::Clear, Info),
                (60, Change::Start, Confirmed),
                (70, Change::Clear, Confirmed),
            ]
        );
        assert_eq!(told(Severity::Critical, &looks), []);
        // Evidence is as bad as a limit that is near.
        assert_eq!(told(Severity::Warning, &looks)[0].0, 30);
    }

    #[test]
    fn other_settings_start_and_clear_what_stands() {
        let mut stream = Stream::new(Severity::Info);
        let story = testing::story(Severity::Suspect, 5);
        let clock = &testing::CLOCK;
        let first = stream.take(News::Began, &story, 1, clock).unwrap();
        assert_eq!(
            stream.change(Severity::Suspect, &[&story], 2, clock).len(),
            0
        );
        assert_eq!(stream.again(&story, 3, clock).unwrap().began, first.began);
        let changes = |alerts: Vec<Alert>| alerts.iter().map(|it| it.change).collect::<Vec<_>>();
        let cleared = stream.change(Severity::Critical, &[&story], 4, clock);
        assert_eq!(changes(cleared), [Change::Clear]);
        assert!(stream.again(&story, 5, clock).is_none());
        let started = stream.change(Severity::Suspect, &[&story], 6, clock);
        assert_eq!(changes(started), [Change::Start]);
    }

    #[test]
    fn what_is_about_the_same_has_the_same_number_in_every_run() {
        let of = |lport| {
            let mut finding = testing::finding(Severity::Suspect, 1);
            finding.subject.lport = lport;
            fingerprint(&finding.identity())
        };
        assert_eq!(of(Some(80)), of(Some(80)));
        assert_ne!(of(Some(80)), of(Some(81)));
        assert_ne!(of(Some(80)), of(None));
        // Written down: receivers keep these.
        assert_eq!(of(Some(80)), "6392dc4803b0561e");
    }
}
