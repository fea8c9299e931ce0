//! Many records at once.

use std::io;

use super::Pipeline;
use crate::{decode::subject, source::chunk::Chunk};

/// So many are looked at together: about as many reads of memory as a CPU waits for at the same time.
const TOGETHER: usize = 16;

impl Pipeline {
    /// Takes in records, in their order.
    pub fn take_records(&mut self, records: &Chunk) -> io::Result<()> {
        let mut records = records.records();
        loop {
            if self.table.is_large() {
                let some = records.clone().take(TOGETHER);
                self.table.fetch(some.filter_map(subject));
            }
            for _ in 0..TOGETHER {
                let Some(record) = records.next() else {
                    return Ok(());
                };
                self.record_came(record)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use socktrace_common::{
        event::{EventKind, StateEvent},
        socket::{FAMILY_IPV4, PROTO_TCP, TcpState},
    };
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;
    use crate::{clock::Clock, select::Select, sink::Report, source::Item};

    fn change(id: u64, old: TcpState, new: TcpState) -> StateEvent {
        let mut event = StateEvent::new_zeroed();
        event.header.kind = EventKind::State as u16;
        event.header.mono_ns = 1_000_000 + id;
        (event.socket.id, event.socket.family) = (id, FAMILY_IPV4);
        event.socket.proto = PROTO_TCP;
        (event.old, event.new) = (old as u8, new as u8);
        event
    }

    /// More than the caches hold, so that all of what is to come is looked up before.
    #[test]
    fn many_records_at_once_say_what_each_says() -> io::Result<()> {
        let ids = 1..=5_000;
        let mut chunk = Chunk::default();
        for id in ids.clone() {
            let event = change(id, TcpState::Close, TcpState::SynSent);
            chunk.push(event.as_bytes());
        }
        for id in ids.rev().step_by(2) {
            let event = change(id, TcpState::SynSent, TcpState::Established);
            chunk.push(event.as_bytes());
            chunk.push(b"no record");
        }
        let of = || Pipeline::new(Select::default(), Report::Trace, None, Clock::now());
        let (mut together, mut apart) = (of(), of());
        together.take_records(&chunk)?;
        for record in chunk.records() {
            apart.take(&Item::Record(record))?;
        }
        assert_eq!(together.table().len(), 5_000);
        assert_eq!(together.undecodable(), 2_500);
        assert_eq!(apart.undecodable(), 2_500);
        let states = |of: &Pipeline| {
            let mut states: Vec<_> = of
                .table()
                .iter()
                .map(|it| (it.info().id, it.state()))
                .collect();
            states.sort_by_key(|&(id, _)| id);
            states
        };
        assert_eq!(states(&together), states(&apart));
        let count = |wanted| {
            states(&together)
                .iter()
                .filter(|(_, it)| *it == wanted)
                .count()
        };
        assert_eq!(count(TcpState::Established), 2_500);
        Ok(())
    }
}
