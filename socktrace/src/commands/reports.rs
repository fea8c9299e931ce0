//! `leaks` and `limits`: what a person wants to know at three in the morning.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use super::{
    colored,
    filter::Filter,
    follow::follow,
    quietly, stdout, tell,
    watch::{FOLLOWED, watch},
};
use crate::{
    cli::{Color, FailOn, Leaks, Limits, SocketsFormat},
    clock::Clock,
    detect::{Limit, Severity, Story, limits, settings::Text},
    failure::{FINDINGS, Failure},
    probe::Stacks,
    sink,
    stack::Places,
};

pub(super) fn leaks(args: &Leaks, color: Color) -> Result<u8, Failure> {
    if args.follow {
        return follow(args, color);
    }
    let watched = watch(&args.watch, args.stacks())?;
    let mut stories: Vec<_> = watched.standing.stories().into_iter().cloned().collect();
    if let Some(stacks) = &watched.stacks {
        look_up(stacks, &mut stories);
    }
    let report = Leaking {
        stories: &stories.iter().collect::<Vec<_>>(),
        clock: &watched.clock,
        watched: args.watch.duration(),
        growth_takes: watched.growth_takes,
        goes_on: false,
    };
    let color = colored(color, io::stdout().is_terminal());
    let mut out = stdout();
    quietly(
        report
            .write(args, color, &mut out)
            .and_then(|()| out.flush()),
    )?;
    report.notes(args).iter().for_each(tell);
    Ok(report.status(args))
}

/// What was found, with how long it took.
pub(super) struct Leaking<'a> {
    pub(super) stories: &'a [&'a Story],
    pub(super) clock: &'a Clock,
    pub(super) watched: Duration,
    pub(super) growth_takes: Duration,
    /// Somebody watches on, and can be asked again.
    pub(super) goes_on: bool,
}

impl Leaking<'_> {
    pub(super) fn write(&self, args: &Leaks, color: bool, out: &mut impl Write) -> io::Result<()> {
        let Self { stories, clock, .. } = *self;
        match args.watch.output {
            SocketsFormat::Table => sink::findings::write_text(out, stories, clock, color),
            SocketsFormat::Json => sink::findings::write_json(out, stories, clock, false),
            SocketsFormat::JsonPretty => sink::findings::write_json(out, stories, clock, true),
        }
    }

    /// What to say about it, to people.
    pub(super) fn notes(&self, args: &Leaks) -> Vec<String> {
        let mut notes = Vec::new();
        if args.watch.output != SocketsFormat::Table {
            return notes;
        }
        if self.stories.is_empty() {
            let watched = Text(Duration::from_secs(self.watched.as_secs()));
            notes.push(format!("nothing was found in {watched}"));
        }
        if self.watched < self.growth_takes {
            let takes = Text(self.growth_takes);
            let how = if self.goes_on {
                let watched = Text(Duration::from_secs(self.watched.as_secs()));
                format!("the daemon has watched for {watched}")
            } else {
                format!("--duration {takes}")
            };
            notes.push(format!(
                "whether something only accumulates is not known yet: that takes {takes} ({how}), \
                 slow growth longer"
            ));
        }
        notes
    }

    pub(super) fn status(&self, args: &Leaks) -> u8 {
        let severities = self.stories.iter().map(|story| story.finding.severity);
        status(args.watch.fail_on, severities)
    }
}

pub(super) fn limits_near(args: &Limits) -> Result<u8, Failure> {
    let watched = watch(&args.watch, 0)?;
    let filter = Filter::new(&args.watch)?;
    let mut rows = limits(&watched.world, watched.machine.inodes);
    rows.retain(|row| filter.wants_limit(row));
    let mut out = stdout();
    quietly(write_limits(args, rows, &mut out).and_then(|()| out.flush()))?;
    let stories = watched.standing.stories().into_iter();
    Ok(near(args, stories.map(|story| story.finding.severity)))
}

pub(super) fn write_limits(
    args: &Limits,
    mut rows: Vec<Limit>,
    out: &mut impl Write,
) -> io::Result<()> {
    // What has no limit is last, and worth a line.
    let informational = rows.pop_if(|row| row.limit.is_none());
    rows.truncate(args.count);
    rows.extend(informational);
    match args.watch.output {
        SocketsFormat::Table => sink::limits::write_table(out, &rows),
        SocketsFormat::Json => sink::limits::write_json(out, &rows, false),
        SocketsFormat::JsonPretty => sink::limits::write_json(out, &rows, true),
    }
}

/// The status for limits that are near.
pub(super) fn near(args: &Limits, severities: impl Iterator<Item = Severity>) -> u8 {
    let near = severities.filter(|severity| *severity >= Severity::Warning);
    status(args.watch.fail_on, near)
}

/// Says where what was found was opened.
fn look_up(stacks: &Stacks, stories: &mut [Story]) {
    let mut places = Places::new(|key| stacks.get(key));
    for story in stories {
        let finding = &mut story.finding;
        let process = finding.subject.process.as_deref();
        // Of others no call was seen, whenever it was.
        let followed = finding
            .subject
            .proto
            .is_some_and(|it| FOLLOWED.contains(&it));
        let opened = if followed { &finding.opened[..] } else { &[] };
        finding.stacks = Some(places.look_up(opened, process));
    }
}

/// 3 if something is as bad as that.
pub(super) fn status(
    fail_on: Option<FailOn>,
    mut severities: impl Iterator<Item = Severity>,
) -> u8 {
    let bad = |fail_on: FailOn| severities.any(|severity| fail_on.is_met(severity));
    if fail_on.is_some_and(bad) {
        FINDINGS
    } else {
        0
    }
}
