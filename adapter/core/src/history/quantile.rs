//! Quantile of a histogram, as Prometheus' `histogram_quantile` computes it.

/// `buckets` are `(upper bound, observations up to it)`, ascending. NaN without observations or without a `+Inf` bucket.
///
/// Within a bucket observations are taken to be spread evenly; beyond the last finite bound nothing is known, so that
/// bound is the answer.
pub(super) fn of_buckets(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
    let Some((&(last_bound, total), finite)) = buckets.split_last() else { return f64::NAN };
    if last_bound.is_finite() || total.is_nan() || total <= 0.0 {
        return f64::NAN;
    }
    let Some(&(largest, _)) = finite.last() else { return f64::NAN };
    let rank = quantile * total;
    let mut below = (0.0, 0.0);
    for &(bound, count) in finite {
        // Summed from many engines at slightly different times, counts may fall; Prometheus makes them ascend too.
        let count = count.max(below.1);
        if count >= rank && count > 0.0 {
            let lower_bound = if below.1 == 0.0 && below.0 == 0.0 && bound <= 0.0 { bound } else { below.0 };
            let inside = count - below.1;
            return if inside > 0.0 { lower_bound + (bound - lower_bound) * (rank - below.1) / inside } else { bound };
        }
        below = (bound, count);
    }
    largest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [(0.1, 10.0), (0.5, 90.0), (1.0, 100.0), (INF, 100.0)];
        assert!((of_buckets(0.5, &buckets) - 0.3).abs() < 1e-9);
        assert!((of_buckets(0.95, &buckets) - 0.75).abs() < 1e-9);
        assert!((of_buckets(0.05, &buckets) - 0.05).abs() < 1e-9);
    }

    #[test]
    fn beyond_the_last_finite_bound_that_bound_is_the_answer() {
        assert!((of_buckets(0.95, &[(1.0, 5.0), (INF, 100.0)]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn no_observation_is_not_a_number() {
        for buckets in [&[][..], &[(1.0, 0.0), (INF, 0.0)], &[(1.0, 5.0)], &[(INF, 5.0)]] {
            assert!(of_buckets(0.95, buckets).is_nan(), "{buckets:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_never_leaves_the_bounds_and_never_falls(counts in prop::collection::vec(0.0_f64..50.0, 4)) {
            let mut sum = 0.0;
            let bounds = [0.1, 1.0, 5.0, INF];
            let buckets: Vec<(f64, f64)> = bounds.iter().zip(counts).map(|(&bound, count)| { sum += count; (bound, sum) }).collect();
            prop_assume!(sum > 0.0);
            let (median, high) = (of_buckets(0.5, &buckets), of_buckets(0.95, &buckets));
            prop_assert!((0.0..=5.0).contains(&median) && median <= high && high <= 5.0);
        }
    }
}
