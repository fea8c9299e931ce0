//! `leaks` and `limits`: what a person wants to know at three in the morning.

use std::io::{IsTerminal as _, Write as _};

use super::{
    colored, quietly, stdout, tell,
    watch::{FOLLOWED, watch},
};
use crate::{
    cli::{Color, FailOn, Leaks, Limits, SocketsFormat},
    detect::{Severity, Story, limits, settings::Text},
    failure::{FINDINGS, Failure},
    probe::Stacks,
    sink,
    stack::Places,
};

pub(super) fn leaks(args: &Leaks, color: Color) -> Result<u8, Failure> {
    let watched = watch(&args.watch, args.stacks())?;
    let mut stories: Vec<_> = watched.standing.stories().into_iter().cloned().collect();
    if let Some(stacks) = &watched.stacks {
        look_up(stacks, &mut stories);
    }
    let stories: Vec<_> = stories.iter().collect();
    let clock = &watched.clock;
    let mut out = stdout();
    let written = match args.watch.output {
        SocketsFormat::Table => {
            let color = colored(color, std::io::stdout().is_terminal());
            sink::findings::write_text(&mut out, &stories, clock, color)
        }
        SocketsFormat::Json => sink::findings::write_json(&mut out, &stories, clock, false),
        SocketsFormat::JsonPretty => sink::findings::write_json(&mut out, &stories, clock, true),
    };
    quietly(written.and_then(|()| out.flush()))?;
    let seconds = args.watch.duration.as_secs();
    if args.watch.output == SocketsFormat::Table {
        if stories.is_empty() {
            tell(format_args!("nothing was found in {seconds} s"));
        }
        if args.watch.duration < watched.growth_takes {
            let takes = Text(watched.growth_takes);
            tell(format_args!(
                "whether something only accumulates is not known yet: that takes {takes} \
                 (--duration {takes}), slow growth longer"
            ));
        }
    }
    let severities = stories.iter().map(|story| story.finding.severity);
    Ok(status(args.watch.fail_on, severities))
}

pub(super) fn limits_near(args: &Limits) -> Result<u8, Failure> {
    let watched = watch(&args.watch, 0)?;
    let mut rows = limits(&watched.world, watched.machine.inodes);
    // What has no limit is last, and worth a line.
    let informational = rows.pop_if(|row| row.limit.is_none());
    rows.truncate(args.count);
    rows.extend(informational);
    let mut out = stdout();
    let written = match args.watch.output {
        SocketsFormat::Table => sink::limits::write_table(&mut out, &rows),
        SocketsFormat::Json => sink::limits::write_json(&mut out, &rows, false),
        SocketsFormat::JsonPretty => sink::limits::write_json(&mut out, &rows, true),
    };
    quietly(written.and_then(|()| out.flush()))?;
    let stories = watched.standing.stories();
    let severities = stories.iter().map(|story| story.finding.severity);
    let near = severities.filter(|severity| *severity >= Severity::Warning);
    Ok(status(args.watch.fail_on, near))
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
