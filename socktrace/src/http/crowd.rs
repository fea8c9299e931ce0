//! Who is connected, and what each does: a connection has a deadline at any time, and when there are
//! too many, the one that is idle longest makes room.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::limits::Limits;

/// All connections of one kind.
pub(super) struct Crowd {
    most: usize,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Arc<Life>>,
}

/// A place in the crowd, free again when dropped.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    number: u64,
    /// What the connection in it does.
    pub(super) life: Arc<Life>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            seats: Mutex::default(),
        })
    }

    /// A seat, if need be that of the connection which waits longest for a request. None where all
    /// are being answered, which does not last: an answer has a deadline.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Seat> {
        let mut seats = lock(&self.seats);
        if seats.taken.len() >= self.most {
            let idle = seats.taken.iter().filter_map(|(number, life)| {
                let since = life.idle_since()?;
                Some((since, *number))
            });
            let (_, number) = idle.min()?;
            if let Some(life) = seats.taken.remove(&number) {
                life.cut.notify_one();
            }
        }
        let number = seats.next;
        seats.next += 1;
        let life = Arc::new(Life::new());
        seats.taken.insert(number, Arc::clone(&life));
        Some(Seat {
            crowd: Arc::clone(self),
            number,
            life,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.crowd.seats).taken.remove(&self.number);
    }
}

/// What a connection does.
pub(super) struct Life {
    now: Mutex<Now>,
    /// Its place was given to somebody else.
    pub(super) cut: Notify,
}

struct Now {
    /// When each request began that is not answered in full.
    open: BTreeMap<u64, Instant>,
    next: u64,
    /// When the last answer was over, or the connection began.
    since: Instant,
    /// When the head that is being read began.
    head: Option<Instant>,
    asked: bool,
}

impl Life {
    fn new() -> Self {
        Self {
            now: Mutex::new(Now {
                open: BTreeMap::new(),
                next: 0,
                since: Instant::now(),
                head: None,
                asked: false,
            }),
            cut: Notify::new(),
        }
    }

    /// Bytes came. While nothing is asked they are the beginning of a request.
    pub(super) fn received(&self) {
        let mut now = lock(&self.now);
        if now.open.is_empty() && now.head.is_none() {
            now.head = Some(Instant::now());
        }
    }

    /// A request is there; it lasts until the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        let mut now = lock(&self.now);
        let number = now.next;
        now.next += 1;
        now.asked = true;
        now.head = None;
        now.open.insert(number, Instant::now());
        Open {
            life: Arc::clone(self),
            number,
        }
    }

    /// When it is too late for what it does now.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        let now = lock(&self.now);
        if let Some(oldest) = now.open.values().min() {
            *oldest + limits.response
        } else if let Some(head) = now.head {
            head + limits.head
        } else if now.asked {
            now.since + limits.idle
        } else {
            now.since + limits.head
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let now = lock(&self.now);
        now.open.is_empty().then_some(now.since)
    }
}

/// A request that is not answered in full.
pub(super) struct Open {
    life: Arc<Life>,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut now = lock(&self.life.now);
        now.open.remove(&self.number);
        now.since = Instant::now();
    }
}

/// What is behind these locks is whole between any two lines, so a panic elsewhere spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
