//! Records that wait in memory while rows are written more slowly than things happen.
//!
//! A burst fills the ring within a tenth of a second, and what finds no room in it is lost. So where every
//! record becomes a row a second thread sleeps until the kernel says that the ring is a quarter full; it
//! copies, and whoever makes rows goes on with what waits. A reader that blocks is as good as a slow one.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use aya::maps::{MapData, RingBuf};
use rustix::event::{EventfdFlags, epoll, eventfd};
use zerocopy::IntoBytes as _;

/// Records are copied by about so many bytes.
const CHUNK: usize = 1 << 18;
/// The last of them may go beyond that by so much.
const LAST: usize = 1 << 12;

/// Records one after another, each behind its length in bytes, all at multiples of 8 bytes.
#[derive(Default)]
pub(super) struct Chunk(Vec<u64>);

impl Chunk {
    fn push(&mut self, record: &[u8]) {
        let at = self.0.len() + 1;
        self.0.push(record.len() as u64);
        self.0.resize(at + record.len().div_ceil(8), 0);
        self.0[at..].as_mut_bytes()[..record.len()].copy_from_slice(record);
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    /// What is in it, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&length, behind) = rest.split_first()?;
            let length = usize::try_from(length).ok()?;
            let (record, others) = behind.split_at_checked(length.div_ceil(8))?;
            rest = others;
            record.as_bytes().get(..length)
        })
    }
}

/// The ring, and what was taken out of it and not yet handed over.
struct Records {
    ring: RingBuf<MapData>,
    waiting: VecDeque<Chunk>,
    /// Of those that wait.
    bytes: usize,
    most: usize,
}

impl Records {
    /// Copies from the ring, a chunk at most.
    fn copy(&mut self, into: &mut Chunk) {
        while into.bytes() < CHUNK
            && let Some(record) = self.ring.next()
        {
            into.push(&record);
        }
    }

    /// Copies what is there, as far as there is room for it.
    fn relieve(&mut self) {
        while self.bytes < self.most {
            let mut chunk = Chunk(Vec::with_capacity((CHUNK + LAST) / 8));
            self.copy(&mut chunk);
            if chunk.0.is_empty() {
                return;
            }
            self.bytes += chunk.bytes();
            self.waiting.push_back(chunk);
        }
    }
}

/// The ring with a thread that empties it when it fills up.
pub(super) struct Relieved {
    records: Arc<Mutex<Records>>,
    own: Chunk,
    fd: RawFd,
    over: Arc<OwnedFd>,
}

impl Relieved {
    /// At most so many bytes wait, and what one look at the ring brings.
    pub(super) fn new(ring: RingBuf<MapData>, most: usize) -> io::Result<Self> {
        let fd = ring.as_raw_fd();
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let told = epoll::EventFlags::IN | epoll::EventFlags::ET;
        // SAFETY: the ring owns it, and is there as long as this is.
        let of_ring = unsafe { BorrowedFd::borrow_raw(fd) };
        epoll::add(&wakes, of_ring, epoll::EventData::new_u64(0), told)?;
        epoll::add(&wakes, &*over, epoll::EventData::new_u64(OVER), told)?;
        let records = Arc::new(Mutex::new(Records {
            ring,
            waiting: VecDeque::new(),
            bytes: 0,
            most,
        }));
        let (its, until) = (Arc::clone(&records), Arc::clone(&over));
        thread::Builder::new()
            .name("backlog".to_owned())
            .spawn(move || {
                // Kept open as long as somebody waits for it.
                let _until = until;
                while woken(&wakes) {
                    locked(&its).relieve();
                }
            })?;
        Ok(Self {
            records,
            own: Chunk::default(),
            fd,
            over,
        })
    }

    /// The oldest records that are there; none if there are none.
    pub(super) fn next(&mut self) -> &Chunk {
        self.own.0.clear();
        let mut records = locked(&self.records);
        if let Some(oldest) = records.waiting.pop_front() {
            let was_full = records.bytes >= records.most;
            records.bytes -= oldest.bytes();
            self.own = oldest;
            if was_full {
                // A full ring wakes nobody.
                records.relieve();
            }
        } else {
            records.copy(&mut self.own);
        }
        &self.own
    }
}

impl AsRawFd for Relieved {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for Relieved {
    fn drop(&mut self) {
        // A thread that is not told so waits for nothing, which does no harm.
        _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
    }
}

/// Marks the event that ends the thread.
const OVER: u64 = 1;

/// Waits until the kernel wakes whoever reads the ring. False when it is over.
fn woken(wakes: &OwnedFd) -> bool {
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 2];
    match epoll::wait(wakes, &mut events, None) {
        Ok(count) => events[..count].iter().all(|it| it.data.u64() != OVER),
        Err(error) => error == rustix::io::Errno::INTR,
    }
}

/// A thread that panicked has left nothing half done: a chunk is whole or was not handed over.
fn locked(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.records().count(), 0);
        let told: [&[u8]; 4] = [b"a record", b"", b"one more than eight", b"z"];
        for record in told {
            chunk.push(record);
        }
        assert_eq!(chunk.records().collect::<Vec<_>>(), told);
        assert!(chunk.records().all(|it| it.as_ptr().addr() % 8 == 0));
        assert_eq!(chunk.bytes(), 8 * (4 + 1 + 3 + 1));
    }
}
