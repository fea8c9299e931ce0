//! `leaks` and `limits`: what a person wants to know at three in the morning.

use std::io::{IsTerminal as _, Write as _};

use super::{colored, follow::follow, quietly, stdout, tell, watch::watch};
use crate::{
    cli::{Color, FailOn, Leaks, Limits, SocketsFormat},
    detect::{Severity, limits, settings::Text},
    failure::{FINDINGS, Failure},
    sink,
};

pub(super) fn leaks(args: &Leaks, color: Color) -> Result<u8, Failure> {
    if args.follow {
        return follow(args, color);
    }
    let watched = watch(&args.watch)?;
    let stories = watched.standing.stories();
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
    let duration = args.watch.duration();
    if args.watch.output == SocketsFormat::Table {
        if stories.is_empty() {
            let seconds = duration.as_secs();
            tell(format_args!("nothing was found in {seconds} s"));
        }
        if duration < watched.growth_takes {
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
    let watched = watch(&args.watch)?;
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
