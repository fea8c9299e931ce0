//! Prometheus' Alertmanager, version 2 of its API: what is active is sent again and again, as it takes
//! for over what nobody speaks of any more.

mod groups;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use self::groups::Groups;
use super::{
    http::{Http, Target},
    lane::{FIRST_PAUSE, Undelivered, Work},
    latest::Latest,
    settings::{self, Url},
};
use crate::failure::Failure;

/// It is sent no more alerts at once, as Prometheus does it.
const BATCH: usize = 256;
/// What is over is told for so long, like Prometheus does it: an Alertmanager may be restarted.
const GIVE_UP: Duration = Duration::from_mins(15);
/// Anything less would be nothing but load.
const SOONEST: Duration = Duration::from_secs(1);
/// So many missed posts do not resolve an alert.
const MISSED: u32 = 4;

pub(super) struct Alertmanager {
    http: Http,
    groups: Groups,
    every: Duration,
}

impl Alertmanager {
    pub(super) fn new(url: &Url, settings: &settings::Alertmanager) -> Result<Self, Failure> {
        let base = url.0.to_string();
        let target = Target {
            url: format!("{}/api/v2/alerts", base.trim_end_matches('/'))
                .parse()
                .map_err(|error| Failure::usage(format!("{base}: {error}")))?,
            token_file: settings.token_file.as_deref(),
            ca_file: settings.ca_file.as_deref(),
            timeout: settings.timeout.0,
        };
        let generator = settings.generator_url.clone().map(String::from);
        Ok(Self {
            http: Http::new(target)?,
            groups: Groups::new(settings.labels.clone(), generator),
            every: settings.every.0.max(SOONEST),
        })
    }

    /// Sends what is active at once when it changes and then again and again, until nothing more
    /// will come. What is active in the end stays so until it expires.
    pub(super) async fn run(mut self, latest: &Arc<Latest>, mut work: Work) {
        let mut next = Instant::now() + self.every;
        let mut pause = FIRST_PAUSE;
        // News that no post has carried yet.
        let mut pending = 0;
        loop {
            tokio::select! {
                () = latest.news() => {}
                () = sleep_until(next) => {}
                _ = work.closing.wait_for(|closing| *closing) => {}
            }
            let closing = work.is_closing();
            for alert in latest.take() {
                self.groups.take(alert);
                pending += 1;
            }
            match self.post().await {
                Ok(()) => {
                    work.counters.delivered(pending);
                    work.voice.works();
                    pending = 0;
                    pause = FIRST_PAUSE;
                    next = Instant::now() + self.every;
                }
                Err(undelivered) => {
                    work.voice.fails(&undelivered.why);
                    next = Instant::now() + if undelivered.again { pause } else { self.every };
                    pause = (pause * 2).min(self.every);
                }
            }
            let given_up = self.groups.give_up(GIVE_UP).min(pending);
            work.counters.failed(given_up);
            pending -= given_up;
            if closing {
                work.counters.failed(pending);
                return;
            }
        }
    }

    async fn post(&mut self) -> Result<(), Undelivered> {
        let now = Timestamp::now();
        let posts = self.groups.posts(now, self.every * MISSED, BATCH);
        for post in posts {
            self.http.post(post).await?;
        }
        self.groups.resolved_are_known();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            lane::Lane,
            settings::Settings,
            testing::{Complaints, Server, alerts, eventually, finding},
        },
        *,
    };
    use crate::detect::Severity;

    fn settings(server: &Server) -> Settings {
        let text = format!(
            "[alertmanager]\nurls = [\"{}\"]\nevery = \"1s\"",
            server.url("/am/")
        );
        toml::from_str(&text).unwrap()
    }

    fn rows(body: &str) -> Vec<serde_json::Value> {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn what_is_active_is_sent_again_and_what_is_over_once() {
        let server = Server::start(&["200 OK"]);
        let complaints = Complaints::default();
        let output = settings(&server).outputs().remove(0);
        let lane = Lane::open(output, &complaints.complain()).unwrap();
        let [start, _, clear] = alerts(finding(Severity::Confirmed, 42)).map(Arc::new);
        lane.send(&start);
        let mut ends = Vec::new();
        for _ in 0..2 {
            let request = server.next();
            assert!(
                request.head.starts_with("POST /am/api/v2/alerts "),
                "{}",
                request.head
            );
            let rows = rows(&request.body);
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0]["labels"]["alertname"], "SocktraceCloseWait");
            let ends_at: Timestamp = rows[0]["endsAt"].as_str().unwrap().parse().unwrap();
            assert!(ends_at > Timestamp::now());
            ends.push(ends_at);
        }
        assert!(ends[0] < ends[1]);
        lane.send(&clear);
        // Posts that were under way may come first.
        let mut over = None;
        eventually(|| {
            over = Some(rows(&server.next().body).remove(0));
            let ends_at: Timestamp = over.as_ref().unwrap()["endsAt"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            ends_at <= Timestamp::now()
        });
        let counts = || lane.counts();
        eventually(|| counts().delivered == 2);
        assert_eq!(
            (counts().failed, counts().dropped, counts().waiting),
            (0, 0, 0)
        );
        assert_eq!(complaints.heard(), [""; 0]);
        drop(lane);
        // Nothing is active: there is nothing to say.
        assert!(server.rest().is_empty());
    }

    #[test]
    fn what_was_not_taken_is_sent_again_sooner() {
        let server = Server::start(&["503 Service Unavailable", "200 OK"]);
        let complaints = Complaints::default();
        let output = settings(&server).outputs().remove(0);
        let mut lane = Lane::open(output, &complaints.complain()).unwrap();
        let [start, ..] = alerts(finding(Severity::Confirmed, 42)).map(Arc::new);
        lane.send(&start);
        eventually(|| lane.counts().delivered == 1);
        assert_eq!(complaints.heard().len(), 2, "{:?}", complaints.heard());
        lane.close();
        lane.wait(std::time::Instant::now() + Duration::from_mins(1));
        // At the end it is still active.
        let last = server.rest().pop().unwrap();
        let ends_at: Timestamp = rows(&last.body)[0]["endsAt"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(ends_at > Timestamp::now());
    }
}
