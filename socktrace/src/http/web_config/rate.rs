//! `rate_limit`: so many requests at once, then one each interval, for all clients together.

use std::{sync::Mutex, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use crate::http::crowd::lock;

/// `rate_limit`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    interval: Option<String>,
    burst: Option<u32>,
}

/// Clocks have an end, and times are added to what they show.
const LONGEST: Duration = Duration::from_hours(366 * 24);

impl Section {
    /// None: no limit.
    pub(super) fn bucket(&self) -> Result<Option<Bucket>, String> {
        let interval = match self.interval.as_deref() {
            None | Some("0") => Duration::ZERO,
            Some(text) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|interval| Duration::try_from(interval).ok())
                .ok_or_else(|| format!("interval: {text} is no time like 1s, 100ms or 1m30s"))?,
        };
        let burst = self.burst.unwrap_or(0);
        if interval.is_zero() {
            return Ok(None);
        }
        if burst == 0 {
            return Err("burst: with 0 no request is answered; give at least 1".to_owned());
        }
        let burst = interval
            .checked_mul(burst)
            .filter(|burst| *burst <= LONGEST)
            .ok_or("burst times interval is more than a year")?;
        Ok(Some(Bucket {
            interval,
            burst,
            full_at: Mutex::new(Instant::now()),
        }))
    }
}

/// A token bucket, kept as the moment at which it will be full.
pub(in crate::http) struct Bucket {
    interval: Duration,
    /// How long it takes to fill.
    burst: Duration,
    full_at: Mutex<Instant>,
}

impl Bucket {
    /// Is there a token? Then it is taken.
    pub(in crate::http) fn allows(&self, now: Instant) -> bool {
        let mut full_at = lock(&self.full_at);
        let then = (*full_at).max(now) + self.interval;
        let is_there = then.duration_since(now) <= self.burst;
        if is_there {
            *full_at = then;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_then_one_each_interval() {
        let section = Section {
            interval: Some("1s".to_owned()),
            burst: Some(2),
        };
        let bucket = section.bucket().unwrap().unwrap();
        let start = Instant::now();
        let at = |millis| bucket.allows(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(0), at(0)], [true, true, false]);
        assert_eq!([at(999), at(1000), at(1000)], [false, true, false]);
        assert_eq!([at(60_000), at(60_000), at(60_000)], [true, true, false]);
    }

    #[test]
    fn what_no_clock_can_show_is_refused() {
        let bucket = |interval: &str, burst| {
            let section = Section {
                interval: Some(interval.to_owned()),
                burst: Some(burst),
            };
            section.bucket()
        };
        assert!(bucket("9223372036854775807s", 1).is_err());
        assert!(bucket("1h", u32::MAX).is_err());
        let longest = bucket("8784h", 1).unwrap().unwrap();
        let now = Instant::now();
        assert_eq!([longest.allows(now), longest.allows(now)], [true, false]);
    }

    #[test]
    fn no_interval_is_no_limit() {
        assert!(Section::default().bucket().unwrap().is_none());
    }
}
