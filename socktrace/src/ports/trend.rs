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
/// `TIME_WAIT` gives a port back after so many seconds (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: f64 = 60.0;

/// How it was at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// Seconds.
    at: f64,
    used: f64,
    /// Those of them that only `TIME_WAIT` keeps.
    kept: f64,
}

/// How the use of ports changed.
#[derive(Clone, Debug, Default)]
pub struct Trends {
    /// By namespace and call.
    rows: HashMap<(u32, Kind), VecDeque<Point>>,
}

impl Trends {
    /// Takes a look's rows in, seen at `now` (seconds, on any clock that only goes forward).
    pub fn see(&mut self, now: f64, rows: &[Row]) {
        let mut most: Vec<_> = rows.iter().collect();
        most.sort_by_key(|row| std::cmp::Reverse(row.ports.used));
        most.truncate(ROWS);
        for row in most {
            let points = self.rows.entry((row.netns, row.kind)).or_default();
            points.push_back(Point {
                at: now,
                used: f64::from(row.ports.used),
                kept: f64::from(row.kept),
            });
            if points.len() > POINTS {
                thin(points);
            }
        }
        // What is no longer used, or too little, is forgotten.
        self.rows.retain(|_, points| {
            while points.front().is_some_and(|it| now - it.at > WINDOW) {
                points.pop_front();
            }
            points.back().is_some_and(|last| last.at >= now)
        });
    }

    /// In how many seconds nothing is left for this call, if it goes on as it did. `None` where it
    /// does not grow: by at least one port over what was seen.
    pub fn eta(&self, row: &Row) -> Option<f64> {
        let points = self.rows.get(&(row.netns, row.kind))?;
        let span = points.back()?.at - points.front()?.at;
        if points.len() < LEAST_POINTS {
            return None;
        }
        let slope = |of: fn(&Point) -> f64| {
            let points: Vec<_> = points.iter().map(|it| (it.at, of(it))).collect();
            theil_sen(&points)
        };
        let used = slope(|it| it.used)?;
        if used * span < 1.0 {
            return None;
        }
        let left = f64::from(row.ports.left);
        let kept = slope(|it| it.kept)?;
        if kept * span < 1.0 {
            return Some(left / used);
        }
        // Connections that are over add to it until as many give their port back as come anew.
        let fills = (TIME_WAIT - f64::from(row.kept) / kept).max(0.0);
        if used * fills >= left {
            return Some(left / used);
        }
        let open = used - kept;
        (open * span >= 1.0).then(|| fills + (left - used * fills) / open)
    }
}

/// Leaves every second point, the newest among them.
fn thin(points: &mut VecDeque<Point>) {
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
        keeping(used, 0)
    }

    fn keeping(used: u32, kept: u32) -> Row {
        Row {
            kept,
            signs: super::super::Signs::default(),
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
        eta_of(used.into_iter().map(row))
    }

    fn eta_of(rows: impl IntoIterator<Item = Row>) -> Option<f64> {
        let mut trends = Trends::default();
        let mut last = None;
        for (now, row) in (0_u32..).zip(rows) {
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
    fn what_time_wait_keeps_comes_back_after_a_minute() {
        // 300 a second are 18,000 in the end, and 28,000 are there.
        let seconds = |rate: u32, seconds: u32| {
            eta_of((0..seconds).map(|second| keeping(rate * second, rate * second)))
        };
        assert_eq!(seconds(300, 50), None);
        // 700 a second would be 42,000.
        let left = seconds(700, 20).unwrap();
        assert!((left - (28_000.0 - 700.0 * 19.0) / 700.0).abs() < 0.01);
        // Beside them a hundred a second stay open: 18,000 are kept after a minute, and then the
        // others have four more.
        let mixed = eta_of((0..31).map(|second| keeping(400 * second, 300 * second)));
        assert!((mixed.unwrap() - (30.0 + 40.0)).abs() < 0.5, "{mixed:?}");
    }

    #[test]
    fn a_long_run_keeps_few_points_and_forgets_what_went() {
        let mut trends = Trends::default();
        for second in 0..5_000_u32 {
            trends.see(f64::from(second), &[row(second)]);
        }
        let points = &trends.rows[&(1, Kind::ConnectAnew)];
        assert!(points.len() <= POINTS, "{}", points.len());
        assert_eq!(points.back().map(|it| it.used), Some(4_999.0));
        assert!(points[0].at >= 4_999.0 - WINDOW);
        let seconds = trends.eta(&row(5_000)).unwrap();
        assert!((seconds - 23_000.0).abs() < 1.0, "{seconds}");
        trends.see(5_000.0, &[]);
        assert!(trends.rows.is_empty());
    }
}
