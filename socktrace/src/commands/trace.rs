//! `trace` and `life`: rows as they happen.

use super::{live, stdout, style};
use crate::{
    change::Kind,
    cli::{Color, Life, Trace},
    clock::Clock,
    failure::Failure,
    pipeline::Pipeline,
    sink::Report,
};

pub(super) fn trace(args: &Trace, color: Color) -> Result<u8, Failure> {
    let mut select = args.select.select()?;
    select.kinds.clone_from(&args.events);
    select.states.clone_from(&args.states);
    let mut kinds = args.events.clone();
    if !args.states.is_empty() && kinds.is_empty() {
        kinds.push(Kind::State);
    }
    let plan = args.select.kernel.plan(&args.live, &kinds)?;
    let style = style(&args.output, Report::Trace, color);
    let details = style.shows_details() || !select.containers.is_empty();
    let pipeline =
        |clock: Clock| Pipeline::new(select, Report::Trace, Some(style.sink(stdout())), clock);
    live::run(
        plan,
        details,
        pipeline,
        &args.live,
        &args.run,
        args.output.count,
    )
}

pub(super) fn life(args: &Life, color: Color) -> Result<u8, Failure> {
    let select = args.select.select()?;
    // The last state change tells of a connection's end, with its bytes.
    let plan = args.select.kernel.plan(&args.live, &[Kind::State])?;
    let style = style(&args.output, Report::Life, color);
    let details = style.shows_details() || !select.containers.is_empty();
    let pipeline =
        |clock: Clock| Pipeline::new(select, Report::Life, Some(style.sink(stdout())), clock);
    live::run(
        plan,
        details,
        pipeline,
        &args.live,
        &args.run,
        args.output.count,
    )
}
