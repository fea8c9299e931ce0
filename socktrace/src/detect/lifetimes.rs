//! How long sockets of a kind usually live: of those that ended within the last two hours.

use hashbrown::HashMap;

use super::Key;

/// Buckets of a histogram: four for each doubling, from a millisecond to twelve days.
const BUCKETS: usize = 120;
/// Half of the time that is looked back.
const HALF_NS: u64 = 3_600_000_000_000;
/// Fewer endings say nothing.
const LEAST: u64 = 50;
/// No more kinds than this: they are made of addresses that strangers choose.
const MOST: usize = 4_096;
/// Room is not looked for again before so long has passed: whoever connects to everybody would have all
/// kinds looked through for each connection.
const LOOK_EVERY_NS: u64 = 60_000_000_000;

/// Lifetimes by kind.
#[derive(Debug, Default)]
pub struct Lifetimes {
    by_key: HashMap<Key, Recent>,
    /// When room was looked for last.
    looked_ns: Option<u64>,
}

/// Two histograms: what ended in this hour, and in the one before.
#[derive(Debug)]
struct Recent {
    began_ns: u64,
    now: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
}

impl Lifetimes {
    /// A socket of this kind ended at `now` after so long, nanoseconds.
    pub fn ended(&mut self, key: Key, now: u64, lifetime_ns: u64) {
        if self.by_key.len() >= MOST && !self.by_key.contains_key(&key) {
            let looked = self.looked_ns.map(|looked| now.saturating_sub(looked));
            if looked.is_none_or(|ago| ago >= LOOK_EVERY_NS) {
                self.looked_ns = Some(now);
                self.by_key
                    .retain(|_, recent| now.saturating_sub(recent.began_ns) < 2 * HALF_NS);
            }
            if self.by_key.len() >= MOST {
                return;
            }
        }
        let recent = self.by_key.entry(key).or_insert_with(|| Recent {
            began_ns: now,
            now: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
        });
        recent.turn(now);
        let count = &mut recent.now[bucket(lifetime_ns)];
        *count = count.saturating_add(1);
    }

    /// The 99th percentile of the lifetimes, nanoseconds; `None` where fewer than 50 ended.
    pub fn usual_ns(&self, key: &Key, now: u64) -> Option<u64> {
        let recent = self.by_key.get(key)?;
        let old = now.saturating_sub(recent.began_ns);
        let (first, second) = match old {
            0..HALF_NS => (Some(&recent.now), Some(&recent.before)),
            HALF_NS.. if old < 2 * HALF_NS => (None, Some(&recent.now)),
            _ => (None, None),
        };
        let counts = |at: usize| {
            let of =
                |half: Option<&Box<[u32; BUCKETS]>>| half.map_or(0, |half| u64::from(half[at]));
            of(first) + of(second)
        };
        let total: u64 = (0..BUCKETS).map(counts).sum();
        if total < LEAST {
            return None;
        }
        // One in a hundred may lie above.
        let (above, mut seen) = (total / 100, 0);
        let bucket = (0..BUCKETS).rev().find(|at| {
            seen += counts(*at);
            seen > above
        });
        bucket.map(upper_ns)
    }
}

impl Recent {
    fn turn(&mut self, now: u64) {
        let old = now.saturating_sub(self.began_ns);
        if old < HALF_NS {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.fill(0);
        if old >= 2 * HALF_NS {
            self.before.fill(0);
        }
        self.began_ns = now;
    }
}

/// Nanoseconds in the smallest unit that is told apart.
const UNIT: u64 = 1_000_000;

#[allow(clippy::cast_possible_truncation, reason = "there are 64 doublings")]
fn bucket(ns: u64) -> usize {
    let units = (ns / UNIT).max(1);
    let doubling = units.ilog2() as usize;
    // The two bits after the first.
    let quarter = ((u128::from(units) << 2 >> doubling) & 3) as usize;
    (doubling * 4 + quarter).min(BUCKETS - 1)
}

/// The end of a bucket, nanoseconds.
fn upper_ns(bucket: usize) -> u64 {
    let (doubling, quarter) = (bucket / 4, bucket as u64 % 4);
    let units = (4 + quarter + 1) << doubling;
    (units * UNIT) / 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing::*, *};

    #[test]
    fn the_usual_is_what_99_of_100_do_not_exceed() {
        let key = group(Vec::new()).key;
        let mut lifetimes = Lifetimes::default();
        for number in 0..200 {
            let lifetime = if number < 198 {
                10 * SECOND
            } else {
                7_200 * SECOND
            };
            lifetimes.ended(key, number * SECOND, lifetime);
        }
        let usual = lifetimes.usual_ns(&key, 200 * SECOND).unwrap();
        assert!((10 * SECOND..13 * SECOND).contains(&usual), "{usual}");
        // Two hours later nobody knows any more.
        assert_eq!(lifetimes.usual_ns(&key, 8_000 * SECOND), None);
    }

    #[test]
    fn few_say_nothing() {
        let key = group(Vec::new()).key;
        let mut lifetimes = Lifetimes::default();
        for number in 0..49 {
            lifetimes.ended(key, number, SECOND);
        }
        assert_eq!(lifetimes.usual_ns(&key, SECOND), None);
        lifetimes.ended(key, SECOND, SECOND);
        assert!(lifetimes.usual_ns(&key, SECOND).is_some());
    }

    #[test]
    fn there_is_room_for_new_kinds_when_old_ones_are_forgotten() {
        let mut lifetimes = Lifetimes::default();
        let key = |pid| Key {
            pid,
            ..group(Vec::new()).key
        };
        let kinds = u32::try_from(MOST).unwrap();
        for pid in 0..kinds + 1_000 {
            lifetimes.ended(key(pid), u64::from(pid), SECOND);
        }
        assert_eq!(lifetimes.by_key.len(), MOST);
        let later = 2 * HALF_NS + u64::from(kinds);
        lifetimes.ended(key(kinds), later, SECOND);
        assert_eq!(lifetimes.by_key.len(), 1);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_put_in(ns in 1_000_000_u64..1 << 49) {
            let at = bucket(ns);
            prop_assert!(ns <= upper_ns(at).saturating_add(UNIT));
            prop_assert!(at == 0 || ns + UNIT >= upper_ns(at - 1));
        }
    }
}
