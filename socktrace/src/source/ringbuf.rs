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

/// The kernel wakes nobody for a single record, so somebody has to look. What happens is shown
/// within this time.
pub const SOON: Duration = Duration::from_millis(20);
/// The same where rows are shown to nobody: whoever asks has the ring emptied first, and one that
/// fills up says so.
pub const LATER: Duration = Duration::from_millis(100);

/// Records taken before other things get their turn.
const BATCH: usize = 16_384;

/// The kernel side's ring buffer.
pub struct Ring {
    ring: AsyncFd<Readable>,
    timer: Interval,
}

struct Readable(RingBuf<MapData>);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ring {
    /// Looked at soon. Needs a tokio runtime around it.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        Self::every(ring, SOON)
    }

    /// The same, looked at this often.
    pub fn every(ring: RingBuf<MapData>, every: Duration) -> io::Result<Self> {
        let mut timer = interval(every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // SAFETY: the ring owns its map's descriptor until it is dropped, and that is only after
        // `AsyncFd` has let go of it.
        let ring = unsafe { AsyncFd::register_with_interest(Readable(ring), Interest::READABLE) }
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
        let ring = &mut self.ring.get_mut().0;
        for _ in 0..BATCH {
            let Some(record) = ring.next() else {
                return Ok(false);
            };
            take(&record)?;
        }
        Ok(true)
    }
}
