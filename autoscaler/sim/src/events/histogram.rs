//! Quantiles of positive times from logarithmic buckets.

/// Buckets of a doubling: quantiles are right to about 1/32.
const BUCKETS_PER_OCTAVE: u32 = 32;
/// From 2^-14 s (61 µs), below which everything counts as that, to 2^14 s (4.5 h).
const LEAST_EXPONENT: i32 = -14;
const OCTAVES: usize = 28;
const BUCKETS: usize = OCTAVES * BUCKETS_PER_OCTAVE as usize;

/// Counts of times, by the leading bits of their floating-point form.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum_seconds: f64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum_seconds: 0.0 }
    }

    pub(super) fn observe(&mut self, seconds: f64) {
        self.counts[bucket(seconds)] += 1;
        self.total += 1;
        self.sum_seconds += seconds;
    }

    /// Mean in seconds; 0 without observations.
    pub(super) fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum_seconds / self.total as f64 }
    }

    /// Quantile in seconds, `share` from 0 to 1; 0 without observations.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        let wanted = share * self.total as f64;
        let mut below = 0.0;
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if below + count >= wanted {
                let within = ((wanted - below) / count).clamp(0.0, 1.0);
                return lower_edge(index) + within * (lower_edge(index + 1) - lower_edge(index));
            }
            below += count;
        }
        lower_edge(BUCKETS)
    }

    fn take_away(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own -= other);
        self.total -= other.total;
        self.sum_seconds -= other.sum_seconds;
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.sum_seconds = 0.0;
    }
}

/// The same over the last 50 to 60 seconds, as `rate(…[1m])` sees it.
#[derive(Debug, Clone)]
pub(super) struct RecentHistogram {
    window: Histogram,
    parts: [Histogram; Self::PARTS],
    current: usize,
}

impl RecentHistogram {
    const PARTS: usize = 6;
    /// [`Self::rotate`] is to be called so often.
    pub(super) const PART_SECONDS: f64 = 10.0;

    pub(super) fn new() -> Self {
        Self { window: Histogram::new(), parts: std::array::from_fn(|_| Histogram::new()), current: 0 }
    }

    pub(super) fn observe(&mut self, seconds: f64) {
        self.window.observe(seconds);
        self.parts[self.current].observe(seconds);
    }

    /// Forgets the oldest part of the window.
    pub(super) fn rotate(&mut self) {
        self.current = (self.current + 1) % Self::PARTS;
        self.window.take_away(&self.parts[self.current]);
        self.parts[self.current].clear();
    }

    pub(super) fn window(&self) -> &Histogram {
        &self.window
    }
}

fn bucket(seconds: f64) -> usize {
    // Sign 0, 11 bits of exponent, then the mantissa, whose five leading bits are the bucket within the octave.
    let octave_and_part = (seconds.max(0.0).to_bits() >> (52 - BUCKETS_PER_OCTAVE.ilog2())) as i64;
    let least = i64::from(1023 + LEAST_EXPONENT) * i64::from(BUCKETS_PER_OCTAVE);
    (octave_and_part - least).clamp(0, BUCKETS as i64 - 1) as usize
}

fn lower_edge(index: usize) -> f64 {
    let per_octave = BUCKETS_PER_OCTAVE as usize;
    let octave = 2.0_f64.powi(LEAST_EXPONENT + (index / per_octave) as i32);
    octave * (1.0 + (index % per_octave) as f64 / f64::from(BUCKETS_PER_OCTAVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_thirty_second() {
        let mut histogram = Histogram::new();
        (1..=10_000).for_each(|index| histogram.observe(f64::from(index) * 1e-3));
        for (share, exact) in [(0.01, 0.1), (0.5, 5.0), (0.95, 9.5), (0.99, 9.9)] {
            let quantile = histogram.quantile(share);
            assert!((quantile / exact - 1.0).abs() < 1.0 / 32.0, "{share}: {quantile} for {exact}");
        }
        assert!((histogram.mean() - 5.0005).abs() < 1e-9);
    }

    #[test]
    fn times_beyond_the_buckets_count_in_the_outermost() {
        let mut histogram = Histogram::new();
        [-1.0, 0.0, 1e-9].iter().for_each(|seconds| histogram.observe(*seconds));
        assert!(histogram.quantile(1.0) < 1e-4);
        histogram.observe(1e9);
        assert!(histogram.quantile(1.0) > 16_000.0);
    }

    #[test]
    fn the_recent_window_forgets_after_six_parts() {
        let mut recent = RecentHistogram::new();
        recent.observe(8.0);
        recent.rotate();
        (0..99).for_each(|_| recent.observe(1.0));
        assert!(recent.window().quantile(1.0) > 7.9);
        (0..5).for_each(|_| recent.rotate());
        assert!((0.95..1.05).contains(&recent.window().quantile(1.0)));
        recent.rotate();
        assert!(recent.window().quantile(0.9).abs() < f64::EPSILON && recent.window().mean().abs() < f64::EPSILON);
    }
}
