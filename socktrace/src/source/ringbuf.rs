//! Records from the kernel: by a timer, or when the ring fills up.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{backlog::Relieved, chunk::Chunk, feed::Feed};

/// The kernel wakes nobody for a single record, so somebody has to look: what happens is shown
/// within this time.
pub const SOON: Duration = Duration::from_millis(20);
/// Where nobody waits to be shown anything: every look takes a CPU from somebody.
pub const SELDOM: Duration = Duration::from_millis(100);

/// Bytes taken, about, before other things get their turn.
const BATCH: usize = 1 << 21;

/// Bytes that are copied at once: they stay in the CPU's first cache until they have been looked at.
const COPIED: usize = 1 << 14;

/// The kernel side's ring buffer.
pub struct Ring {
    ring: AsyncFd<Readable>,
    timer: Interval,
}

enum Readable {
    /// Records go from the ring to where they are looked at.
    Direct(Box<Feed>, Chunk),
    /// They may have to wait in memory.
    Relieved(Relieved),
}

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Direct(feed, _) => feed.as_fd().as_raw_fd(),
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
    pub fn new(feed: impl Into<Feed>, every: Duration) -> io::Result<Self> {
        Self::of(
            Readable::Direct(Box::new(feed.into()), Chunk::default()),
            every,
        )
    }

    /// The same; what finds no taker waits in memory, up to so many bytes.
    pub fn with_backlog(feed: impl Into<Feed>, every: Duration, most: usize) -> io::Result<Self> {
        Self::of(Readable::Relieved(Relieved::new(feed.into(), most)?), every)
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

    /// Hands over what is there, up to a batch, some of it at a time; says whether there is more.
    pub fn drain<E>(&mut self, mut take: impl FnMut(&Chunk) -> Result<(), E>) -> Result<bool, E> {
        let mut taken = 0;
        while taken < BATCH {
            let some = self.ring.get_mut().next();
            if some.bytes() == 0 {
                return Ok(false);
            }
            taken += some.bytes();
            take(some)?;
        }
        Ok(true)
    }
}

impl Readable {
    /// The oldest records that are there; none if there are none.
    fn next(&mut self) -> &Chunk {
        match self {
            Self::Direct(feed, own) => {
                own.clear();
                feed.copy(own, COPIED);
                own
            }
            Self::Relieved(relieved) => relieved.next(),
        }
    }
}
