//! What leaks: blocks of lines for people, JSON as `docs/findings.md` describes it.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{json, stacks, text};
use crate::{
    clock::Clock,
    detect::{Evidence, Finding, Kind, Severity, Story},
    endpoint::{Endpoint, protocol_word},
    field::printable,
    process::Comm,
    stack::Opening,
};

/// One finding as JSON. The keys are part of schema 1.
#[derive(Serialize)]
pub struct Object<'a> {
    kind: &'static str,
    severity: &'static str,
    #[serde(serialize_with = "time")]
    since: Timestamp,
    netns: Option<u32>,
    pid: Option<u32>,
    comm: Option<String>,
    container: Option<&'a str>,
    proto: Option<&'static str>,
    raddr: Option<String>,
    rport: Option<u16>,
    lport: Option<u16>,
    count: Option<u64>,
    oldest_seconds: Option<u64>,
    limit: Option<u64>,
    used: Option<u64>,
    eta_seconds: Option<u64>,
    complete: bool,
    #[serde(serialize_with = "evidence")]
    evidence: &'a [(&'static str, Evidence)],
    advice: &'a str,
    /// Only where stacks were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<&'a [Opening]>,
}

impl<'a> Object<'a> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds to come, rounded down"
    )]
    /// What is known of it.
    pub fn new(story: &'a Story, clock: &Clock) -> Self {
        let finding = &story.finding;
        let subject = &finding.subject;
        let process = subject.process.as_deref();
        Self {
            kind: finding.kind.word(),
            severity: finding.severity.word(),
            since: clock.wall(since_ns(story)),
            netns: subject.netns,
            pid: process.map(|process| process.pid),
            comm: process
                .and_then(|process| process.comm.as_ref())
                .map(|comm| Comm::text(comm).into_owned()),
            container: process.and_then(|process| process.details.container.as_deref()),
            proto: subject.proto.map(protocol_word),
            raddr: subject.remote.address.map(|address| address.to_string()),
            rport: subject.remote.port,
            lport: subject.lport,
            count: finding.count,
            oldest_seconds: finding.oldest_ns.map(|ns| ns / 1_000_000_000),
            limit: finding.limit,
            used: finding.used,
            eta_seconds: finding.eta_seconds.map(|seconds| seconds as u64),
            complete: finding.complete,
            evidence: &finding.evidence,
            advice: &finding.advice,
            stacks: finding.stacks.as_deref(),
        }
    }
}

/// Since when it is so: what is found was there before it was found.
fn since_ns(story: &Story) -> u64 {
    let oldest = story.finding.oldest_ns.unwrap_or_default();
    story.since_ns.min(story.seen_ns().saturating_sub(oldest))
}

/// RFC 3339 in UTC, to the nanosecond, as all times in JSON.
pub fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.9}"))
}

fn evidence<S: Serializer>(
    evidence: &&[(&'static str, Evidence)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(evidence.len()))?;
    for (name, value) in *evidence {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// Writes findings as JSON, one object a line or several lines each.
pub fn write_json(
    out: &mut impl Write,
    stories: &[&Story],
    clock: &Clock,
    pretty: bool,
) -> io::Result<()> {
    stories
        .iter()
        .try_for_each(|story| json::write(out, &Object::new(story, clock), pretty))
}

/// Writes findings for people: what, who, how many, since when; why; what to do.
pub fn write_text(
    out: &mut impl Write,
    stories: &[&Story],
    clock: &Clock,
    color: bool,
) -> io::Result<()> {
    for story in stories {
        let finding = &story.finding;
        let style = if color {
            style(finding.severity)
        } else {
            Style::new()
        };
        writeln!(
            out,
            "{style}{:<9}{style:#} {}: {}",
            finding.severity.word(),
            finding.kind.word(),
            headline(finding)
        )?;
        let since = clock.local(since_ns(story));
        let known = if finding.complete {
            ""
        } else {
            "; events were lost, so it may be incomplete"
        };
        writeln!(out, "          since {since} at least{known}")?;
        let evidence = reasons(finding);
        if !evidence.is_empty() {
            writeln!(out, "          {evidence}")?;
        }
        for stack in finding.stacks.iter().flatten() {
            stacks::write(out, stack)?;
        }
        if !finding.advice.is_empty() {
            writeln!(out, "          next: {}", finding.advice)?;
        }
    }
    Ok(())
}

/// `42 sockets of nginx (pid 7) to 10.0.0.1:5432, the oldest 3.1 min`. Names are escaped.
pub fn headline(finding: &Finding) -> String {
    let subject = &finding.subject;
    let mut words = Vec::new();
    let (one, many) = counted(finding);
    match (finding.used, finding.limit, finding.count) {
        // Whoever holds it is named, and is one of few.
        _ if finding.kind == Kind::InheritedListener => words.push("listener".to_owned()),
        (Some(used), Some(limit), _) => words.push(format!("{used} of {limit} {many}")),
        (_, _, Some(1)) => words.push(format!("1 {one}")),
        (_, _, Some(count)) => words.push(format!("{count} {many}")),
        _ => words.push(one.to_owned()),
    }
    if let Some(process) = &subject.process {
        let comm = process.comm.map(|comm| printable(&comm.text()));
        let comm = comm.unwrap_or_else(|| "a process".to_owned());
        words.push(format!("of {comm} (pid {})", process.pid));
    }
    if subject.remote != Endpoint::default() {
        words.push(format!("to {}", text::endpoint(subject.remote)));
    }
    if let Some(port) = subject.lport {
        words.push(format!("on port {port}"));
    }
    if subject.process.is_none()
        && let Some(netns) = subject.netns
    {
        words.push(format!("in namespace {netns}"));
    }
    let mut text = words.join(" ");
    if let Some(oldest) = finding.oldest_ns {
        let of_many = if finding.kind == Kind::InheritedListener {
            "for"
        } else {
            "the oldest"
        };
        _ = write!(text, ", {of_many} {}", text::duration(oldest));
    }
    if let Some(eta) = finding.eta_seconds {
        _ = write!(text, ", none left in {}", text::duration(from_seconds(eta)));
    }
    text
}

/// What is counted: one, and many.
fn counted(finding: &Finding) -> (&'static str, &'static str) {
    match finding.kind {
        Kind::CloseWait
        | Kind::DeadOpen
        | Kind::NeverConnected
        | Kind::IdleGrowth
        | Kind::SynSent
        | Kind::Orphan
        | Kind::UdpGrowth
        | Kind::UnixHalfDead => ("socket", "sockets"),
        Kind::AcceptQueue => ("place in the queue", "places in the queue"),
        Kind::InheritedListener | Kind::ListenerInEphemeralRange => ("listener", "listeners"),
        Kind::Pipe => ("pipe", "pipes"),
        Kind::InFlightFd | Kind::FdLimit => ("descriptor", "descriptors"),
        Kind::PortExhaustion => ("port", "ports"),
        // Of one destination those are counted that could be chosen.
        Kind::TimeWait if finding.subject.remote != Endpoint::default() => ("port", "ports"),
        Kind::TimeWait => ("connection in TIME_WAIT", "connections in TIME_WAIT"),
        Kind::FileTable => ("open file", "open files"),
        Kind::Conntrack => ("tracked connection", "tracked connections"),
    }
}

/// `rising yes, floor risen by 12, watched seconds 900`. Texts are escaped.
pub fn reasons(finding: &Finding) -> String {
    let words = finding.evidence.iter().map(|(name, value)| {
        let name = name.replace('_', " ");
        match value {
            Evidence::Number(number) => format!("{name} {number}"),
            Evidence::Ratio(ratio) => format!("{name} {ratio:.2}"),
            Evidence::Word(word) => format!("{name} {word}"),
            Evidence::Text(text) => format!("{name} {}", printable(text)),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "three digits are shown"
)]
pub(super) fn from_seconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The colour for it.
pub fn style(severity: Severity) -> Style {
    match severity {
        Severity::Info => Style::new().dimmed(),
        Severity::Suspect | Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Confirmed | Severity::Critical => AnsiColor::Red.on_default(),
    }
}
