//! `record`: what happens goes into a file.

use std::{fs::File, io::BufWriter};

use super::live;
use crate::{
    cli::Record,
    clock::Clock,
    failure::{FAILURE, Failure},
    pipeline::Pipeline,
    select::Select,
    sink::Report,
    source::recording::Writer,
};

pub(super) fn record(args: &Record) -> Result<u8, Failure> {
    let plan = args.select.plan(&args.live, &[])?;
    // Before anything is attached: a file that cannot be written is the likelier fault.
    let file = File::create(&args.file).map_err(|error| {
        Failure::new(
            FAILURE,
            format!("{} cannot be written: {error}", args.file.display()),
        )
    })?;
    let clock = Clock::now();
    let writer = Writer::new(BufWriter::new(file), &clock)?;
    let pipeline = |_| {
        let mut pipeline = Pipeline::new(Select::default(), Report::Trace, None, clock);
        pipeline.record(writer);
        pipeline
    };
    live::run(plan, true, pipeline, &args.live, &args.run, None)
}
