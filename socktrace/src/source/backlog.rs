//! Records that wait in memory while rows are written more slowly than things happen.
//!
//! A burst fills the ring within a tenth of a second, and what finds no room in it is lost. So where every
//! record becomes a row a second thread sleeps until the kernel says that the ring is a quarter full, or half of
//! a shelf; it copies, and whoever makes rows goes on with what waits. A reader that blocks is as good as a slow
//! one.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::{chunk::Chunk, feed::Feed};

/// Records are copied by about so many bytes.
const CHUNK: usize = 1 << 18;
/// The last of them may go beyond that by so much.
const LAST: usize = 1 << 12;

/// What the kernel side tells, and what was taken of that and not yet handed over.
struct Records {
    feed: Feed,
    waiting: VecDeque<Chunk>,
    /// Of those that wait.
    bytes: usize,
    most: usize,
}

impl Records {
    /// Copies what is there, as far as there is room for it.
    fn relieve(&mut self) {
        while self.bytes < self.most {
            let mut chunk = Chunk::with_capacity(CHUNK + LAST);
            self.feed.copy(&mut chunk, CHUNK);
            if chunk.bytes() == 0 {
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
    pub(super) fn new(feed: Feed, most: usize) -> io::Result<Self> {
        let fd = feed.as_fd().as_raw_fd();
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let told = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&wakes, &feed, epoll::EventData::new_u64(0), told)?;
        epoll::add(&wakes, &*over, epoll::EventData::new_u64(OVER), told)?;
        let records = Arc::new(Mutex::new(Records {
            feed,
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
        self.own.clear();
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
            records.feed.copy(&mut self.own, CHUNK);
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
