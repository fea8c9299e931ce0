//! `trace` and `life`: rows as they happen.

use super::{live, stdout, style};
use crate::{
    change::Kind,
    cli::{
        Color, Life, Live, Output, Run, Trace,
        protocol::{followed, lived},
    },
    clock::Clock,
    endpoint::Protocol,
    failure::Failure,
    pipeline::Pipeline,
    probe::Plan,
    process::Ask,
    select::Select,
    sink::Report,
};

pub(super) fn trace(args: &Trace, color: Color) -> Result<u8, Failure> {
    let mut select = args.select.select()?;
    select.protocols = followed(&args.select.kernel.protocols);
    select.kinds.clone_from(&args.events);
    select.states.clone_from(&args.states);
    let mut kinds = args.events.clone();
    if !args.states.is_empty() && kinds.is_empty() {
        kinds.push(Kind::State);
    }
    let plan = args
        .select
        .kernel
        .plan(&args.live, &kinds, &select.protocols)?;
    Rows {
        report: Report::Trace,
        output: &args.output,
        live: &args.live,
        run: &args.run,
    }
    .follow(select, plan, color)
}

pub(super) fn life(args: &Life, color: Color) -> Result<u8, Failure> {
    let mut select = args.select.select()?;
    select.protocols = lived(&args.select.kernel.protocols);
    // The last state change tells of a connection's end, with its bytes.
    let kinds = [Kind::State, Kind::End];
    let mut plan = args
        .select
        .kernel
        .plan(&args.live, &kinds, &select.protocols)?;
    if select.protocols == [Protocol::Tcp] {
        plan = plan.of_connections();
    }
    // A command's last sockets are waited for, so they must be known.
    if args.run.command.is_empty() {
        plan = plan.folded();
    }
    Rows {
        report: Report::Life,
        output: &args.output,
        live: &args.live,
        run: &args.run,
    }
    .follow(select, plan, color)
}

/// What both have in common.
struct Rows<'a> {
    report: Report,
    output: &'a Output,
    live: &'a Live,
    run: &'a Run,
}

impl Rows<'_> {
    fn follow(&self, select: Select, plan: Plan, color: Color) -> Result<u8, Failure> {
        let style = style(self.output, self.report, color);
        let ask = if style.shows_details() || select.needs_details() {
            Ask::Details
        } else {
            Ask::Names
        };
        let pipeline = |clock: Clock| {
            let sink = style.sink(stdout());
            Ok(Pipeline::new(select, self.report, Some(sink), clock))
        };
        let count = self.output.count;
        let how = live::How {
            live: self.live,
            run: self.run,
            count,
            ask,
            quiet: false,
        };
        live::run(plan, pipeline, &how, None)
    }
}
