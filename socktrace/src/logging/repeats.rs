//! What is said over and over is said seldom: of each message in the source so many in a while, then
//! none until the while is over; the next one says how many there were.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber, callsite::Identifier};
use tracing_subscriber::layer::{Context, Layer};

const MOST: u32 = 10;
const WHILE: Duration = Duration::from_mins(1);

thread_local! {
    /// How many were left out before the event that is on its way on this thread.
    static LEFT_OUT: Cell<u64> = const { Cell::new(0) };
}

/// How many like the event that is being written were left out. The journal's fields do not have it:
/// journald counts for itself.
pub(super) fn left_out() -> u64 {
    LEFT_OUT.get()
}

/// Leaves out what is said over and over. Who wants to debug gets it all.
#[derive(Default)]
pub(super) struct Repeats {
    told: Mutex<HashMap<Identifier, Told>>,
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            LEFT_OUT.set(0);
            return true;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let told = told
            .entry(metadata.callsite())
            .or_insert_with(|| Told::new(now));
        let left_out = told.ask(now);
        LEFT_OUT.set(left_out.unwrap_or(0));
        left_out.is_some()
    }
}

/// One message of the source.
struct Told {
    since: Instant,
    count: u32,
    left_out: u64,
}

impl Told {
    fn new(since: Instant) -> Self {
        Self {
            since,
            count: 0,
            left_out: 0,
        }
    }

    /// May it be said? Then how many were left out before it.
    fn ask(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= WHILE {
            self.since = now;
            self.count = 0;
        }
        if self.count == MOST {
            self.left_out += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_a_loop_is_said_ten_times_then_counted() {
        let start = Instant::now();
        let mut told = Told::new(start);
        let said = (0..1000).filter(|_| told.ask(start).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(told.ask(start + WHILE / 2), None);
        assert_eq!(told.ask(start + WHILE), Some(991));
        assert_eq!(told.ask(start + WHILE), Some(0));
    }
}
