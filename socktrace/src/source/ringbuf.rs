//! Records from the kernel: by a timer, or when the ring fills up.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Interval, MissedTickBehavior, interval},
};

use super::backlog::Relieved;

/// The kernel wakes nobody for a single record, so somebody has to look: what happens is shown
/// within this time.
pub const SOON: Duration = Duration::from_millis(20);
/// Where nobody waits to be shown anything: every look takes a CPU from somebody.
pub const SELDOM: Duration = Duration::from_millis(100);

/// Records taken, about, before other things get their turn.
const BATCH: usize = 16_384;

/// The kernel side's ring buffer.
pub struct Ring {
    ring: AsyncFd<Readable>,
    timer: Interval,
}

enum Readable {
    /// Records are read where they lie.
    Direct(RingBuf<MapData>),
    /// They may have to wait in memory.
    Relieved(Relieved),
}

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Direct(ring) => ring.as_raw_fd(),
            Self::Relieved(relieved) => relieved.as_raw_fd(),
        }
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: either owns the ring as long as it is there itself.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl Ring {
    /// Looked at so often. Needs a tokio runtime around it.
    pub fn new(ring: RingBuf<MapData>, every: Duration) -> io::Result<Self> {
        Self::of(Readable::Direct(ring), every)
    }

    /// The same; what finds no taker waits in memory, up to so many bytes.
    pub fn with_backlog(ring: RingBuf<MapData>, every: Duration, most: usize) -> io::Result<Self> {
        Self::of(Readable::Relieved(Relieved::new(ring, most)?), every)
    }

    fn of(ring: Readable, every: Duration) -> io::Result<Self> {
        let mut timer = interval(every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // SAFETY: the ring owns its map's descriptor until it is dropped, and that is only after
        // `AsyncFd` has let go of it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Self { ring, timer })
    }

    /// Waits until it is time to look. May be dropped while it waits.
    pub async fn ready(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.timer.tick() => Ok(()),
            guard = self.ring.readable() => {
                guard?.clear_ready();
                Ok(())
            }
        }
    }

    /// Hands over what is there, up to a batch; says whether there is more.
    pub fn drain<E>(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<bool, E> {
        let mut taken = 0;
        match self.ring.get_mut() {
            Readable::Direct(ring) => {
                while taken < BATCH {
                    let Some(record) = ring.next() else {
                        return Ok(false);
                    };
                    take(&record)?;
                    taken += 1;
                }
            }
            Readable::Relieved(relieved) => {
                while taken < BATCH {
                    let before = taken;
                    for record in relieved.next().records() {
                        take(record)?;
                        taken += 1;
                    }
                    if taken == before {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}
