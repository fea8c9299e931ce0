//! How fast processes come to the end of their descriptors.

use std::collections::VecDeque;

use super::{Filled, World, history::Histories};
use crate::ports::theil_sen;

/// At most so many points are kept for a slope.
const POINTS: usize = 60;
/// Fewer say nothing.
const LEAST_POINTS: usize = 5;
/// Below this part of the limit nothing is near, however fast it grows: that is a program that
/// starts.
const NEAR: f64 = 0.1;

/// How many descriptors processes had.
#[derive(Debug, Default)]
pub struct FdTrends {
    /// When (seconds), and how many; by pid.
    used: Histories<u32, VecDeque<(f64, f64)>>,
}

impl FdTrends {
    /// Takes a look in, and says of each process when it will have no more.
    #[allow(clippy::cast_precision_loss, reason = "it is an estimate")]
    pub fn see(&mut self, world: &mut World) {
        let now = world.now_ns as f64 / 1e9;
        self.used.begin();
        for it in &mut world.descriptors {
            let points = self.used.of(it.process.pid, VecDeque::new);
            points.push_back((now, it.filled.used as f64));
            if points.len() > POINTS {
                points.pop_front();
            }
            it.eta_seconds = eta(points, it.filled);
        }
        self.used.end();
    }
}

/// In how many seconds there will be no more, if it goes on.
#[allow(clippy::cast_precision_loss, reason = "it is an estimate")]
fn eta(points: &mut VecDeque<(f64, f64)>, filled: Filled) -> Option<f64> {
    if points.len() < LEAST_POINTS || filled.ratio() < NEAR {
        return None;
    }
    let span = points.back()?.0 - points.front()?.0;
    let slope = theil_sen(points.make_contiguous())?;
    let left = filled.limit.saturating_sub(filled.used) as f64;
    (slope * span >= 1.0).then(|| left / slope)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Descriptors, testing::*},
        *,
    };

    /// What is said after looks, one each five seconds.
    fn eta(used: impl IntoIterator<Item = u64>) -> Option<f64> {
        let mut trends = FdTrends::default();
        let mut said = None;
        for (second, used) in (0..).step_by(5).zip(used) {
            let mut world = World {
                descriptors: vec![Descriptors {
                    process: process(100),
                    filled: Filled { used, limit: 1000 },
                    eta_seconds: None,
                }],
                ..world(second, Vec::new())
            };
            trends.see(&mut world);
            said = world.descriptors[0].eta_seconds;
        }
        said
    }

    #[test]
    fn what_grows_ends() {
        // Two a second: 700 are left.
        let seconds = eta((0..21).map(|look| 100 + 10 * look)).unwrap();
        assert!((seconds - 350.0).abs() < 1.0, "{seconds}");
    }

    #[test]
    fn what_does_not_grow_or_has_just_begun_does_not() {
        assert_eq!(eta([500; 20]), None);
        assert_eq!(eta((0..20).map(|look| 500 - look)), None);
        assert_eq!(eta((0..20).map(|look| 500 + look % 2)), None);
        assert_eq!(eta(0..20), None);
        assert_eq!(eta([500, 600, 700]), None);
    }
}
