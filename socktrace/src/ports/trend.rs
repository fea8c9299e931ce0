//! When nothing will be left.

use std::collections::{HashMap, VecDeque};

use super::{Kind, Row, theil_sen};

/// How far back: seconds.
const WINDOW: f64 = 600.0;
/// At most so many points a row, evenly spread: their pairs are what the slope costs.
const POINTS: usize = 120;
/// Of so many rows of each look, those that use most: the others are far from their end.
const ROWS: usize = 512;
/// Fewer points say nothing.
const LEAST_POINTS: usize = 3;

/// How the use of ports changed.
#[derive(Clone, Debug, Default)]
pub struct Trends {
    /// By namespace and call: when (seconds), and how many were used.
    rows: HashMap<(u32, Kind), VecDeque<(f64, f64)>>,
}

impl Trends {
    /// Takes a look's rows in, seen at `now` (seconds, on any clock that only goes forward).
    pub fn see(&mut self, now: f64, rows: &[Row]) {
        let mut most: Vec<_> = rows.iter().collect();
        most.sort_by_key(|row| std::cmp::Reverse(row.ports.used));
        most.truncate(ROWS);
        for row in most {
            let points = self.rows.entry((row.netns, row.kind)).or_default();
            points.push_back((now, f64::from(row.ports.used)));
            if points.len() > POINTS {
                thin(points);
            }
        }
        // What is no longer used, or too little, is forgotten.
        self.rows.retain(|_, points| {
            while points.front().is_some_and(|(then, _)| now - then > WINDOW) {
                points.pop_front();
            }
            points.back().is_some_and(|(last, _)| *last >= now)
        });
    }

    /// In how many seconds nothing is left for this call, if it goes on as it did. `None` where it
    /// does not grow: by at least one port over what was seen.
    pub fn eta(&self, row: &Row) -> Option<f64> {
        let points = self.rows.get(&(row.netns, row.kind))?;
        let (first, last) = (points.front()?.0, points.back()?.0);
        if points.len() < LEAST_POINTS {
            return None;
        }
        let points: Vec<_> = points.iter().copied().collect();
        let slope = theil_sen(&points)?;
        (slope * (last - first) >= 1.0).then(|| f64::from(row.ports.left) / slope)
    }
}

/// Leaves every second point, the newest among them.
fn thin(points: &mut VecDeque<(f64, f64)>) {
    let newest = points.len() - 1;
    let mut index = 0;
    points.retain(|_| {
        index += 1;
        (newest - (index - 1)).is_multiple_of(2)
    });
}

#[cfg(test)]
mod tests {
    use super::{super::Use, *};

    fn row(used: u32) -> Row {
        Row {
            netns: 1,
            kind: Kind::ConnectAnew,
            ports: Use {
                eligible: 28_000,
                blocked: 0,
                used,
                left: 28_000 - used,
            },
            eta_seconds: None,
            owners: Vec::new(),
            complete: true,
        }
    }

    /// The time to exhaustion after looks, one a second.
    fn eta(used: impl IntoIterator<Item = u32>) -> Option<f64> {
        let mut trends = Trends::default();
        let mut last = None;
        for (now, used) in (0_u32..).zip(used) {
            let row = row(used);
            trends.see(f64::from(now), std::slice::from_ref(&row));
            last = Some(row);
        }
        trends.eta(&last?)
    }

    #[test]
    fn what_grows_ends() {
        let seconds = eta((0..50).map(|second| 300 * second)).unwrap();
        assert!((seconds - (28_000.0 - 300.0 * 49.0) / 300.0).abs() < 0.01);
        assert_eq!(eta([0, 0, 0, 28_000, 28_000, 28_000, 28_000]), Some(0.0));
    }

    #[test]
    fn what_does_not_grow_has_no_end() {
        assert_eq!(eta([100; 20]), None);
        assert_eq!(eta((0..20).map(|second| 5_000 - second)), None);
        // A pool that breathes.
        assert_eq!(eta((0..20).map(|second| 100 + second % 2)), None);
        assert_eq!(eta([0, 300]), None);
        assert_eq!(eta([]), None);
    }

    #[test]
    fn a_long_run_keeps_few_points_and_forgets_what_went() {
        let mut trends = Trends::default();
        for second in 0..5_000_u32 {
            trends.see(f64::from(second), &[row(second)]);
        }
        let points = &trends.rows[&(1, Kind::ConnectAnew)];
        assert!(points.len() <= POINTS, "{}", points.len());
        assert_eq!(points.back(), Some(&(4_999.0, 4_999.0)));
        assert!(points[0].0 >= 4_999.0 - WINDOW);
        let seconds = trends.eta(&row(5_000)).unwrap();
        assert!((seconds - 23_000.0).abs() < 1.0, "{seconds}");
        trends.see(5_000.0, &[]);
        assert!(trends.rows.is_empty());
    }
}
