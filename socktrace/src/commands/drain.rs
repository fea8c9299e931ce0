//! From the ring into the pipeline.

use std::io;

use crate::{
    clock::monotonic_ns,
    pipeline::Pipeline,
    source::{Item, ringbuf::Ring},
};

/// Takes what is there, or a batch of it. All is what was told until now: where things happen faster than
/// they are taken in there is always more.
pub(super) fn drain(ring: &mut Ring, pipeline: &mut Pipeline, all: bool) -> io::Result<()> {
    let enough = monotonic_ns() + DISORDER_NS;
    loop {
        let mut newest = 0;
        let more = ring.drain(|records| {
            newest = records.newest_ns();
            pipeline.take_records(records)
        })?;
        pipeline.take(&Item::Settle)?;
        if !more || !all || newest > enough {
            return Ok(());
        }
    }
}

/// Records of different CPUs are in order but for less than this.
const DISORDER_NS: u64 = 10_000_000;
