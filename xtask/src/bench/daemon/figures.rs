//! What must hold, and lines through points.

use std::fmt;

use serde::Serialize;

/// A figure, and what it may be at most.
#[derive(Debug, Serialize)]
pub(super) struct Must {
    what: &'static str,
    is: f64,
    at_most: f64,
    unit: &'static str,
}

impl Must {
    pub(super) fn new(what: &'static str, is: f64, at_most: f64, unit: &'static str) -> Self {
        Self {
            what,
            is,
            at_most,
            unit,
        }
    }

    /// What is not known does not hold.
    pub(super) fn holds(&self) -> bool {
        self.is <= self.at_most
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            is,
            at_most,
            unit,
        } = self;
        let word = if self.holds() { "holds" } else { "MISSED" };
        write!(
            f,
            "{word:<7} {what}: {is:.2}{unit}, at most {at_most}{unit}"
        )
    }
}

/// How much `y` rises with each `x`, by least squares; 0 for less than two points.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "numbers that are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_slope_and_a_point_none() {
        assert_eq!(slope(&[(0.0, 1.0), (2.0, 5.0), (4.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(3.0, 7.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        assert!(Must::new("", 1.0, 1.0, "").holds());
        assert!(!Must::new("", 1.1, 1.0, "").holds());
        assert!(!Must::new("", f64::NAN, 1.0, "").holds());
    }
}
