//! Alerts as Alertmanager knows them: by their labels.
//!
//! Labels have no pid: a worker that is replaced by one that leaks just as well is the same to people,
//! and a silence of yesterday holds for it. So what several processes of one name do is one alert,
//! which is over when the last of them is; the annotations say who they are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hashbrown::HashMap;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::{Alert, Change};
use crate::{
    detect::Kind,
    endpoint::Endpoint,
    field::printable,
    sink::{findings::time, text},
};

/// So many processes are named.
const NAMED: usize = 20;

pub(super) type Labels = BTreeMap<String, String>;

/// What is active, and what is over and not known to be.
pub(super) struct Groups {
    fixed: Labels,
    generator: Option<String>,
    active: HashMap<String, Arc<Alert>>,
    resolved: BTreeMap<Labels, (Arc<Alert>, Timestamp)>,
}

/// An alert, as the API has it.
#[derive(Serialize)]
struct Row<'a> {
    labels: Labels,
    annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "startsAt", serialize_with = "time")]
    starts_at: Timestamp,
    #[serde(rename = "endsAt", serialize_with = "time")]
    ends_at: Timestamp,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator: Option<&'a str>,
}

impl Groups {
    pub(super) fn new(fixed: Labels, generator: Option<String>) -> Self {
        Self {
            fixed,
            generator,
            active: HashMap::new(),
            resolved: BTreeMap::new(),
        }
    }

    /// Takes in the last word about something.
    pub(super) fn take(&mut self, alert: Arc<Alert>) {
        let before = self.active.remove(&alert.id);
        let over = alert.change == Change::Clear;
        let now = Timestamp::now();
        if !over {
            self.resolved.remove(&self.labels(&alert));
            self.active.insert(alert.id.clone(), alert);
        }
        // What was known by other labels, say another severity, is over by those.
        if let Some(before) = before {
            let labels = self.labels(&before);
            if !self.active.values().any(|it| self.labels(it) == labels) {
                self.resolved.insert(labels, (before, now));
            }
        }
    }

    /// The bodies of the posts that tell all of it.
    pub(super) fn posts(&self, now: Timestamp, lasts: Duration, most: usize) -> Vec<String> {
        let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
        let until = now.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        let mut groups: BTreeMap<Labels, Vec<&Alert>> = BTreeMap::new();
        for alert in self.active.values() {
            groups.entry(self.labels(alert)).or_default().push(alert);
        }
        let active = groups
            .into_iter()
            .map(|(labels, members)| self.row(labels, members, now, until));
        let resolved = self
            .resolved
            .iter()
            .map(|(labels, (alert, at))| self.row(labels.clone(), vec![alert], *at, *at));
        let rows: Vec<_> = active.chain(resolved).collect();
        rows.chunks(most)
            // Texts and times: nothing in it can fail.
            .filter_map(|rows| serde_json::to_string(rows).ok())
            .collect()
    }

    /// What is over has been told.
    pub(super) fn resolved_are_known(&mut self) {
        self.resolved.clear();
    }

    /// Forgets what has been over for so long, and how much that is.
    pub(super) fn give_up(&mut self, after: Duration) -> u64 {
        let before = self.resolved.len();
        let now = Timestamp::now();
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        self.resolved
            .retain(|_, (_, at)| now.duration_since(*at) < after);
        (before - self.resolved.len()) as u64
    }

    fn row(
        &self,
        labels: Labels,
        mut members: Vec<&Alert>,
        now: Timestamp,
        ends_at: Timestamp,
    ) -> Row<'_> {
        members.sort_by_key(|it| (std::cmp::Reverse(it.count), it.identity.pid));
        let began = members.iter().map(|it| it.began).min();
        Row {
            labels,
            annotations: annotations(&members),
            // Our clock may be behind, but nothing begins after its end.
            starts_at: began.unwrap_or(now).min(now),
            ends_at,
            generator: self.generator.as_deref(),
        }
    }

    fn labels(&self, alert: &Alert) -> Labels {
        let identity = &alert.identity;
        let remote = Some(identity.remote).filter(|it| *it != Endpoint::default());
        let known = [
            ("alertname", Some(name(alert.kind))),
            ("kind", Some(alert.kind.word().to_owned())),
            ("severity", Some(alert.severity.word().to_owned())),
            ("host", Some(alert.host.clone())),
            ("comm", alert.comm.as_deref().map(printable)),
            ("container", alert.container.clone()),
            ("netns", identity.netns.map(|netns| netns.to_string())),
            ("remote", remote.map(text::endpoint)),
            ("lport", identity.lport.map(|port| port.to_string())),
        ];
        let known = known.into_iter();
        let mut labels: Labels = known
            .filter_map(|(name, text)| Some((name.to_owned(), text?)))
            .collect();
        labels.extend(self.fixed.clone());
        labels
    }
}

/// `SocktraceCloseWait`.
fn name(kind: Kind) -> String {
    let words = kind.word().split('_');
    let words = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    format!("Socktrace{}", words.collect::<String>())
}

/// What people read; the first has most.
fn annotations(members: &[&Alert]) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::new();
    let Some(first) = members.first() else {
        return annotations;
    };
    let others = match members.len() - 1 {
        0 => String::new(),
        1 => "; and 1 other process".to_owned(),
        others => format!("; and {others} other processes"),
    };
    let complete = members.iter().all(|it| it.complete);
    annotations.insert("summary", format!("{}{others}", first.headline));
    annotations.insert("description", first.reasons.clone());
    annotations.insert("advice", first.advice.clone());
    annotations.insert("complete", complete.to_string());
    let counts: Vec<_> = members.iter().filter_map(|it| it.count).collect();
    if !counts.is_empty() {
        annotations.insert("count", counts.iter().sum::<u64>().to_string());
    }
    let pids = members.iter().filter_map(|it| it.identity.pid);
    let pids: Vec<_> = pids.take(NAMED).map(|pid| pid.to_string()).collect();
    if !pids.is_empty() {
        annotations.insert("pids", pids.join(" "));
    }
    annotations.retain(|_, text| !text.is_empty());
    annotations
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{
        super::super::testing::{alerts, finding},
        *,
    };
    use crate::{detect::Severity, process::Process};

    const LASTS: Duration = Duration::from_mins(4);

    fn rows(groups: &Groups) -> Vec<Value> {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let posts = groups.posts(now, LASTS, 2);
        let rows = posts.iter().flat_map(|post| {
            let rows: Vec<Value> = serde_json::from_str(post).unwrap();
            assert!(rows.len() <= 2);
            rows
        });
        rows.collect()
    }

    /// The three alerts of a process.
    fn of(pid: u32, count: u64, severity: Severity) -> [Arc<Alert>; 3] {
        let mut finding = finding(severity, count);
        let process = finding.subject.process.as_deref().unwrap();
        let comm = process.comm;
        finding.subject.process = Some(Arc::new(Process {
            comm,
            ..Process::new(pid)
        }));
        alerts(finding).map(Arc::new)
    }

    fn groups() -> Groups {
        let fixed = [("team".to_owned(), "web".to_owned())];
        Groups::new(fixed.into(), Some("http://here/".to_owned()))
    }

    #[test]
    fn an_alert_has_labels_to_route_by_and_annotations_to_read() {
        let mut groups = groups();
        let [start, ..] = of(7, 42, Severity::Confirmed);
        groups.take(Arc::clone(&start));
        let rows = rows(&groups);
        let expected = serde_json::json!([{
            "labels": {
                "alertname": "SocktraceCloseWait",
                "kind": "close_wait",
                "severity": "confirmed",
                "host": start.host,
                "comm": "ng\\u{1b}[2J\\nPRIO=0",
                "netns": "4026532178",
                "remote": "10.0.0.9:5432",
                "team": "web",
            },
            "annotations": {
                "summary": "42 sockets of ng\\u{1b}[2J\\nPRIO=0 (pid 7) to 10.0.0.9:5432, \
                            the oldest 400.0 s",
                "description": "floor risen by 12",
                "advice": "socktrace sockets -p 7 state close-wait",
                "complete": "true",
                "count": "42",
                "pids": "7",
            },
            "startsAt": "2023-11-14T22:21:40.000000000Z",
            "endsAt": "2027-01-15T08:04:00.000000000Z",
            "generatorURL": "http://here/",
        }]);
        assert_eq!(Value::from(rows), expected);
    }

    #[test]
    fn processes_of_one_name_are_one_alert_until_the_last_is_over() {
        let mut groups = groups();
        let [one, _, one_over] = of(7, 12, Severity::Confirmed);
        let [other, _, other_over] = of(8, 30, Severity::Confirmed);
        groups.take(one);
        groups.take(other);
        let row = &rows(&groups)[..];
        assert_eq!(row.len(), 1);
        assert_eq!(row[0]["annotations"]["pids"], "8 7");
        assert_eq!(row[0]["annotations"]["count"], "42");
        let summary = row[0]["annotations"]["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("30 sockets of ") && summary.ends_with("; and 1 other process")
        );
        groups.take(other_over);
        let row = &rows(&groups)[..];
        assert_eq!(
            (row.len(), &row[0]["annotations"]["pids"]),
            (1, &"7".into())
        );
        assert_eq!(row[0]["endsAt"], "2027-01-15T08:04:00.000000000Z");
        groups.take(one_over);
        let row = &rows(&groups)[..];
        assert_eq!(row.len(), 1);
        assert_ne!(row[0]["endsAt"], "2027-01-15T08:04:00.000000000Z");
        groups.resolved_are_known();
        assert!(rows(&groups).is_empty());
    }

    #[test]
    fn another_severity_ends_the_alert_with_the_one_before() {
        let mut groups = groups();
        let [suspect, ..] = of(7, 12, Severity::Suspect);
        let [_, confirmed, _] = of(7, 24, Severity::Confirmed);
        groups.take(Arc::clone(&suspect));
        groups.take(confirmed);
        let ends = |rows: &[Value]| {
            let ends = rows.iter().map(|row| {
                let severity = row["labels"]["severity"].as_str().unwrap().to_owned();
                (severity, row["endsAt"] == "2027-01-15T08:04:00.000000000Z")
            });
            ends.collect::<Vec<_>>()
        };
        let active = |severity: &str, active| (severity.to_owned(), active);
        assert_eq!(
            ends(&rows(&groups)),
            [active("confirmed", true), active("suspect", false)]
        );
        // Back again before it was told.
        groups.take(suspect);
        assert_eq!(
            ends(&rows(&groups)),
            [active("suspect", true), active("confirmed", false)]
        );
        assert_eq!(groups.give_up(Duration::MAX), 0);
        assert_eq!(groups.give_up(Duration::ZERO), 1);
        assert_eq!(rows(&groups).len(), 1);
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|it| name(*it)).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(names.contains("SocktraceListenerInEphemeralRange"));
    }
}
