//! Choosing among settings by what they cost and miss.

/// What a setting costs and misses, over the same time as the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Engine-seconds, or their ratio to the optimum's.
    pub cost: f64,
    /// Share missed, 0 to 1.
    pub miss: f64,
}

/// The cheapest setting that misses no more than `allowed`, else the one that misses least (and then the cheapest of
/// those): its index, and whether it keeps the target. `None` without settings.
#[must_use]
pub fn cheapest(points: &[Point], allowed: f64) -> Option<(usize, bool)> {
    let by_cost = |(_, a): &(usize, &Point), (_, b): &(usize, &Point)| a.cost.total_cmp(&b.cost);
    let keeps = points.iter().enumerate().filter(|(_, point)| point.miss <= allowed).min_by(by_cost);
    let least =
        || points.iter().enumerate().min_by(|(_, a), (_, b)| a.miss.total_cmp(&b.miss).then(a.cost.total_cmp(&b.cost)));
    keeps.map(|(index, _)| (index, true)).or_else(|| least().map(|(index, _)| (index, false)))
}

/// Cost at which the settings would miss exactly `allowed`: on the lower convex hull of cost over miss, interpolated
/// between the two settings on either side (mixing them over time would do it). `None` when none misses so little.
#[must_use]
pub fn matched_cost(points: &[Point], allowed: f64) -> Option<f64> {
    let hull = lower_hull(points);
    let above = hull.iter().position(|point| point.miss > allowed);
    match above {
        Some(0) => None,
        None => hull.last().map(|point| point.cost),
        Some(index) => {
            let (left, right) = (hull.get(index - 1)?, hull.get(index)?);
            let share = (allowed - left.miss) / (right.miss - left.miss);
            Some(left.cost + share * (right.cost - left.cost))
        }
    }
}

/// The points that no mixture of others undercuts, by increasing miss and decreasing cost.
#[must_use]
pub fn lower_hull(points: &[Point]) -> Vec<Point> {
    let mut sorted: Vec<Point> = points.iter().copied().filter(|p| p.cost.is_finite() && p.miss.is_finite()).collect();
    sorted.sort_by(|a, b| a.miss.total_cmp(&b.miss).then(a.cost.total_cmp(&b.cost)));
    let mut hull: Vec<Point> = Vec::new();
    for point in sorted {
        // More misses for no less money: dominated.
        if hull.last().is_some_and(|last| point.cost >= last.cost) {
            continue;
        }
        while let [.., a, b] = hull.as_slice() {
            let is_below = (b.cost - a.cost) * (point.miss - a.miss) < (point.cost - a.cost) * (b.miss - a.miss);
            if is_below {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: &[(f64, f64)]) -> Vec<Point> {
        of.iter().map(|&(cost, miss)| Point { cost, miss }).collect()
    }

    #[test]
    fn the_cheapest_setting_that_keeps_the_target_is_chosen_else_the_nearest() {
        let settings = points(&[(1.0, 0.05), (2.0, 0.009), (1.5, 0.01), (3.0, 0.0)]);
        assert_eq!(cheapest(&settings, 0.01), Some((2, true)));
        assert_eq!(cheapest(&settings[..1], 0.01), Some((0, false)));
        assert_eq!(cheapest(&[], 0.01), None);
    }

    #[test]
    fn matched_cost_lies_between_the_neighbours_on_the_hull() {
        let settings = points(&[(3.0, 0.0), (2.0, 0.02), (2.9, 0.01), (1.0, 0.1), (9.0, 0.05)]);
        // (2.9, .01) is above the line from (3, 0) to (2, .02).
        assert_eq!(lower_hull(&settings), points(&[(3.0, 0.0), (2.0, 0.02), (1.0, 0.1)]));
        assert!((matched_cost(&settings, 0.01).unwrap() - 2.5).abs() < 1e-12);
        assert_eq!(matched_cost(&settings, 0.5), Some(1.0));
        assert_eq!(matched_cost(&points(&[(1.0, 0.02)]), 0.01), None);
    }
}
