//! Wall-clock time for events that carry `CLOCK_MONOTONIC`.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use rustix::time::{ClockId, clock_gettime};

/// How far the wall clock is ahead of `CLOCK_MONOTONIC`, and when we began. Taken once: a row's
/// wall-clock time then moves as its monotonic time does, whatever is done to the clock meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock less `CLOCK_MONOTONIC`, nanoseconds.
    pub ahead_ns: i128,
    /// `CLOCK_MONOTONIC` when we began, nanoseconds.
    pub began_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        let began_ns = monotonic_ns();
        Self {
            ahead_ns: Timestamp::now().as_nanosecond() - i128::from(began_ns),
            began_ns,
        }
    }

    /// Wall-clock time of an event.
    pub fn wall(&self, mono_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(self.ahead_ns.saturating_add(i128::from(mono_ns)))
            .unwrap_or(Timestamp::MAX)
    }

    /// `HH:MM:SS.mmm` in the local time zone.
    pub fn local(&self, mono_ns: u64) -> String {
        let local = self.wall(mono_ns).to_zoned(TimeZone::system());
        local.strftime("%H:%M:%S%.3f").to_string()
    }

    /// Seconds since we began.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds are shown")]
    pub fn elapsed(&self, mono_ns: u64) -> f64 {
        mono_ns.saturating_sub(self.began_ns) as f64 / 1e9
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    u64::try_from(nanoseconds).unwrap_or_default()
}

/// What the calling thread has had of a CPU.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_runs_ahead_of_the_monotonic_one() {
        let clock = Clock {
            ahead_ns: 1_700_000_000_000_000_000,
            began_ns: 0,
        };
        assert_eq!(clock.wall(5).as_nanosecond(), clock.ahead_ns + 5);
        assert!((clock.elapsed(1_500_000_000) - 1.5).abs() < 1e-9);
    }
}
