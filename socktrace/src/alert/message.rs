//! One alert: a finding, and what became of it.

use std::io;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    clock::Clock,
    detect::{Identity, Kind, Severity, Story},
    endpoint::Endpoint,
    process::Comm,
    sink::{
        findings::{self, headline, reasons, time},
        json, text,
    },
};

/// What became of what an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, and as bad as was asked for.
    Start,
    /// It got worse or better, or much more of it.
    Update,
    /// It is over, or not so bad any more.
    Clear,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::Clear => "clear",
        }
    }
}

/// What an alert has besides the finding.
#[derive(Clone, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) change: Change,
    pub(super) id: &'a str,
    /// The machine's name.
    pub(super) host: &'a str,
    /// When it was told first, and now; `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) began_ns: u64,
    pub(super) now_ns: u64,
}

/// What is sent. All of it is our own, as the finding goes on to change.
#[derive(Clone, Debug)]
pub struct Alert {
    /// What became of it.
    pub change: Change,
    /// The same in all alerts about one thing, also after a restart; 16 digits.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// When this was told.
    pub time: Timestamp,
    /// When it was told first.
    pub began: Timestamp,
    /// What was found.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What tells it from others.
    pub identity: Identity,
    /// Name of the process, as it chose it: escape it.
    pub comm: Option<String>,
    /// The container of the process.
    pub container: Option<String>,
    /// How many.
    pub count: Option<u64>,
    /// Nothing was lost that could have changed it.
    pub complete: bool,
    /// Who and how many, for people; escaped.
    pub headline: String,
    /// The numbers that the rule saw, for people; escaped.
    pub reasons: String,
    /// The next command to run.
    pub advice: String,
    /// The same as JSON, one line with its end.
    pub json: String,
}

/// The keys are part of schema 1.
#[derive(Serialize)]
struct Object<'a> {
    alert: &'static str,
    #[serde(serialize_with = "time")]
    ts: Timestamp,
    id: &'a str,
    host: &'a str,
    #[serde(serialize_with = "time")]
    began: Timestamp,
    #[serde(flatten)]
    finding: findings::Object<'a>,
}

impl Alert {
    pub(super) fn new(envelope: &Envelope<'_>, story: &Story, clock: &Clock) -> Self {
        let finding = &story.finding;
        let process = finding.subject.process.as_deref();
        let mut alert = Self {
            change: envelope.change,
            id: envelope.id.to_owned(),
            host: envelope.host.to_owned(),
            time: clock.wall(envelope.now_ns),
            began: clock.wall(envelope.began_ns),
            kind: finding.kind,
            severity: finding.severity,
            identity: finding.identity(),
            comm: process
                .and_then(|process| process.comm.as_ref())
                .map(|comm| Comm::text(comm).into_owned()),
            container: process.and_then(|process| process.details.container.clone()),
            count: finding.count,
            complete: finding.complete,
            headline: headline(finding),
            reasons: reasons(finding),
            advice: finding.advice.clone(),
            json: String::new(),
        };
        let mut line = Vec::new();
        // Memory takes everything, and our keys are texts.
        if alert.write_json(&mut line, story, clock, false).is_ok() {
            alert.json = String::from_utf8_lossy(&line).into_owned();
        }
        alert
    }

    /// Writes it as JSON, in one line or several. `story` is what it was made of.
    pub fn write_json(
        &self,
        out: &mut impl io::Write,
        story: &Story,
        clock: &Clock,
        pretty: bool,
    ) -> io::Result<()> {
        let object = Object {
            alert: self.change.word(),
            ts: self.time,
            id: &self.id,
            host: &self.host,
            began: self.began,
            finding: findings::Object::new(story, clock),
        };
        json::write(out, &object, pretty)
    }

    /// What and who, in a line for people.
    pub fn summary(&self) -> String {
        let known = if self.complete {
            ""
        } else {
            "; events were lost, so it may be incomplete"
        };
        let over = if self.change == Change::Clear {
            " is over:"
        } else {
            ":"
        };
        format!("{}{over} {}{known}", self.kind.word(), self.headline)
    }

    /// What programs ask for, as pairs of a name and a text. Texts are as processes chose them.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let identity = &self.identity;
        let remote = Some(identity.remote).filter(|it| *it != Endpoint::default());
        let mut facts = vec![
            ("ALERT", self.change.word().to_owned()),
            ("ID", self.id.clone()),
            ("KIND", self.kind.word().to_owned()),
            ("SEVERITY", self.severity.word().to_owned()),
            ("BEGAN", format!("{:.9}", self.began)),
            ("COMPLETE", self.complete.to_string()),
            ("SUMMARY", self.summary()),
        ];
        let optional = [
            (
                "ADVICE",
                Some(self.advice.clone()).filter(|it| !it.is_empty()),
            ),
            ("COMM", self.comm.clone()),
            ("PID", identity.pid.map(|pid| pid.to_string())),
            ("CONTAINER", self.container.clone()),
            ("NETNS", identity.netns.map(|netns| netns.to_string())),
            ("REMOTE", remote.map(text::endpoint)),
            ("LPORT", identity.lport.map(|port| port.to_string())),
            ("COUNT", self.count.map(|count| count.to_string())),
        ];
        let known = optional
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)));
        facts.extend(known);
        facts
    }
}
