//! `leaks --follow`: findings as they begin, change and end, to people and to other programs.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::Style;

use super::{colored, quietly, reports::status, stdout, tell, watch::watch_for};
use crate::{
    alert::{Alert, Alerts, Change, Stream},
    cli::{Color, Leaks, SocketsFormat},
    clock::{Clock, monotonic_ns},
    detect::{News, Severity, Story},
    failure::Failure,
    settings::Configuration,
    sink::findings,
};

pub(super) fn follow(args: &Leaks, color: Color) -> Result<u8, Failure> {
    let configuration = Configuration::read(args.watch.config_file.as_deref())?;
    let mut alerts = Alerts::new(&configuration.alerts, |message| tell(message))?;
    let clock = Clock::now();
    let mut screen = Screen {
        // Who looks wants to see what may come.
        stream: Stream::new(Severity::Info),
        format: args.watch.output,
        color: colored(color, io::stdout().is_terminal()),
        clock,
    };
    tell("what begins, changes and ends is shown; Ctrl-C ends it");
    let mut closed = None;
    let hear = |news, story: &Story| {
        // Others first: they do not wait for a screen.
        alerts.tell(news, story, &clock);
        screen.show(news, story).map_err(|error| {
            let kind = error.kind();
            closed = Some(error);
            kind.into()
        })
    };
    let duration = args.watch.duration;
    let watched = watch_for(&args.watch, 0, duration, &configuration, Box::new(hear));
    alerts.finish();
    for (output, counts) in alerts.counts() {
        if counts.delivered == 0 && counts.waiting + counts.failed + counts.dropped == 0 {
            continue;
        }
        tell(format_args!(
            "alerts to {output}: {} delivered, {} failed, {} dropped, {} left",
            counts.delivered, counts.failed, counts.dropped, counts.waiting
        ));
    }
    if let Some(error) = closed {
        quietly(Err(error))?;
        return Ok(0);
    }
    let stories = watched?.standing;
    let stories = stories.stories();
    let severities = stories.iter().map(|story| story.finding.severity);
    Ok(status(args.watch.fail_on, severities))
}

/// Standard output.
struct Screen {
    stream: Stream,
    format: SocketsFormat,
    color: bool,
    clock: Clock,
}

impl Screen {
    fn show(&mut self, news: News, story: &Story) -> io::Result<()> {
        let now = monotonic_ns();
        let alert = self.stream.take(news, story, now, &self.clock);
        let Some(alert) = alert else { return Ok(()) };
        let mut out = stdout();
        match self.format {
            SocketsFormat::Table => self.line(&mut out, &alert, now)?,
            SocketsFormat::Json => alert.write_json(&mut out, story, &self.clock, false)?,
            SocketsFormat::JsonPretty => alert.write_json(&mut out, story, &self.clock, true)?,
        }
        out.flush()
    }

    fn line(&self, out: &mut impl io::Write, alert: &Alert, now: u64) -> io::Result<()> {
        let style = match (self.color, alert.change) {
            (true, Change::Start | Change::Update) => findings::style(alert.severity),
            _ => Style::new(),
        };
        let (change, severity) = (alert.change.word(), alert.severity.word());
        let time = self.clock.local(now);
        write!(
            out,
            "{time} {change:<6} {style}{severity:<9}{style:#} {}",
            alert.summary()
        )?;
        if alert.change != Change::Clear && !alert.advice.is_empty() {
            write!(out, "; next: {}", alert.advice)?;
        }
        writeln!(out)
    }
}
