//! Histograms of times, with few buckets: what they are for is to see orders of magnitude.

/// Upper bounds in seconds: from what a loopback connection takes to what a person waits for.
pub(super) const FAST: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// Upper bounds in seconds: from a request to a day.
pub(super) const SLOW: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// How often which times came.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    pub(super) bounds: &'static [f64],
    /// By bucket, the last one without a bound; not cumulative.
    pub(super) counts: [u64; MOST],
    /// Seconds.
    pub(super) sum: f64,
}

/// Buckets of the longest list, and one for what is above.
const MOST: usize = FAST.len() + 1;

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.len() < MOST);
        Self {
            bounds,
            counts: [0; MOST],
            sum: 0.0,
        }
    }

    /// Counts a time in nanoseconds. Most are short, so the bounds are gone through from below.
    #[allow(clippy::cast_precision_loss, reason = "seconds to fifteen digits")]
    pub(super) fn observe(&mut self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(self.bounds.len())] += 1;
        self.sum += seconds;
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bounds with how many are not above.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds
            .iter()
            .zip(self.counts)
            .scan(0, |below, (bound, count)| {
                *below += count;
                Some((*bound, *below))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(FAST);
        for ns in [0, 100_000, 100_001, 40_000_000_000] {
            histogram.observe(ns);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative[..2], [(0.000_1, 2), (0.000_5, 3)]);
        assert_eq!(cumulative.last(), Some(&(30.0, 3)));
        assert_eq!(histogram.count(), 4);
    }
}
