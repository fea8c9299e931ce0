//! How fast something grows.

/// The Theil–Sen slope of points (x, y): the median of the slopes between each two of them, which
/// a third of wild points does not move. `None` without two different x.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in &points[index + 1..] {
            if later_x > x {
                slopes.push((later_y - y) / (later_x - x));
            }
        }
    }
    let middle = slopes.len() / 2;
    if slopes.is_empty() {
        return None;
    }
    let (below, &mut median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    if below.len() + 1 == slopes.len() || !slopes.len().is_multiple_of(2) {
        return Some(median);
    }
    let other = slopes[..middle].iter().copied().max_by(f64::total_cmp);
    other.map(|other| f64::midpoint(other, median))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(slope: f64, count: u16) -> Vec<(f64, f64)> {
        (0..count)
            .map(|x| (f64::from(x), 7.0 + slope * f64::from(x)))
            .collect()
    }

    #[test]
    fn a_line_has_its_slope() {
        assert_eq!(theil_sen(&line(3.0, 10)), Some(3.0));
        assert_eq!(theil_sen(&line(-0.5, 2)), Some(-0.5));
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[(1.0, 2.0)]), None);
        assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 9.0)]), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        // Slopes 1, 2, 3 and 4 of three pairs each way: here 0, 2 (1→3) and 1 over both.
        assert_eq!(theil_sen(&[(0.0, 0.0), (1.0, 0.0), (2.0, 2.0)]), Some(1.0));
        let four = [(0.0, 0.0), (1.0, 1.0), (2.0, 3.0), (3.0, 6.0)];
        // 1, 1.5, 2, 2, 2.5, 3.
        assert_eq!(theil_sen(&four), Some(2.0));
    }

    #[test]
    fn wild_points_do_not_move_it() {
        let mut points = line(300.0, 15);
        points[3].1 = 0.0;
        points[9].1 = 50_000.0;
        points[14].1 = 0.0;
        let slope = theil_sen(&points).unwrap();
        assert!((slope - 300.0).abs() < 1.0, "{slope}");
    }

    proptest! {
        #[test]
        fn it_is_the_median_of_all_pairs(values in prop::collection::vec(-1000_i32..1000, 2..20)) {
            let points: Vec<_> = (0_i32..).zip(&values).map(|(x, y)| (f64::from(x), f64::from(*y))).collect();
            let mut slopes: Vec<f64> = Vec::new();
            for a in 0..points.len() {
                for b in a + 1..points.len() {
                    slopes.push((points[b].1 - points[a].1) / (points[b].0 - points[a].0));
                }
            }
            slopes.sort_by(f64::total_cmp);
            let n = slopes.len();
            let median = if n % 2 == 1 { slopes[n / 2] } else { f64::midpoint(slopes[n / 2 - 1], slopes[n / 2]) };
            prop_assert!((theil_sen(&points).unwrap() - median).abs() < 1e-9);
        }
    }
}
