//! From the ring into the pipeline.

use std::io;

use socktrace_common::event::Header;
use zerocopy::FromBytes as _;

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
            newest = records.last().map_or(0, told_at);
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

/// When a record was written; 0 for what is none.
fn told_at(record: &[u8]) -> u64 {
    Header::read_from_prefix(record).map_or(0, |(header, _)| header.mono_ns)
}
