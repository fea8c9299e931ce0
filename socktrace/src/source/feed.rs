//! All that the kernel side tells, as one stream: its ring, and the shelves beside it.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    chunk::{Chunk, told_at},
    shelves::InOrder,
};
use crate::probe::Shelves;

/// The kernel side's ring, and its shelves if it leaves lives there.
pub struct Feed {
    ring: RingBuf<MapData>,
    shelves: Option<InOrder>,
    /// A record of the ring that waits for older lives; empty if there is none.
    held: Vec<u8>,
}

impl From<RingBuf<MapData>> for Feed {
    fn from(ring: RingBuf<MapData>) -> Self {
        Self::new(ring, None)
    }
}

impl Feed {
    /// With what [`Probes`](crate::probe::Probes) hand out.
    pub fn new(ring: RingBuf<MapData>, shelves: Option<Shelves>) -> Self {
        Self {
            ring,
            shelves: shelves.map(InOrder::new),
            held: Vec::new(),
        }
    }

    /// Copies what is there, until there are about so many bytes, in the order in which it was told: who did
    /// something is told in the ring before the life in which it was done, and that they are gone afterwards. What
    /// comes meanwhile may be a little out of order, but never is a life taken before what it needs.
    pub(super) fn copy(&mut self, chunk: &mut Chunk, most: usize) {
        let Some(shelves) = &mut self.shelves else {
            return chunk.copy(&mut self.ring, most);
        };
        // Before the ring, so that what a life needs is there when it is.
        shelves.look();
        loop {
            if self.held.is_empty() {
                if let Some(record) = self.ring.next() {
                    self.held.extend_from_slice(&record);
                } else if !is_empty(&self.ring) {
                    // One that is being written, behind which others may wait.
                    return;
                }
            }
            let until_ns = if self.held.is_empty() {
                u64::MAX
            } else {
                told_at(&self.held)
            };
            shelves.take(chunk, most, until_ns);
            if self.held.is_empty() || chunk.bytes() >= most {
                return;
            }
            chunk.push(&self.held);
            self.held.clear();
        }
    }
}

/// Is nothing in the ring, nor about to be?
fn is_empty(ring: &RingBuf<MapData>) -> bool {
    let mut asked = [PollFd::new(ring, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
