//! `record`: what happens goes into a file.

use std::{fs::File, io::BufWriter};

use super::live;
use crate::{
    cli::{Record, protocol::followed},
    clock::Clock,
    failure::{FAILURE, Failure},
    pipeline::Pipeline,
    process::Ask,
    select::Select,
    sink::Report,
    source::recording::Writer,
};

pub(super) fn record(args: &Record) -> Result<u8, Failure> {
    let plan = args
        .select
        .plan(&args.live, &[], &followed(&args.select.protocols))?;
    // After everything is attached: a run that cannot be must not cost an older recording.
    let pipeline = |clock: Clock| {
        let file = File::create(&args.file).map_err(|error| {
            let path = args.file.display();
            Failure::new(FAILURE, format!("{path} cannot be written: {error}"))
        })?;
        let mut pipeline = Pipeline::new(Select::default(), Report::Trace, None, clock);
        pipeline.record(Writer::new(BufWriter::new(file), &clock)?);
        Ok(pipeline)
    };
    let how = live::How {
        live: &args.live,
        run: &args.run,
        count: None,
        ask: Ask::Details,
        quiet: false,
    };
    live::run(plan, pipeline, &how, None)
}
