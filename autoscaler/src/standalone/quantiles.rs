//! Quantiles over the last seconds, from cumulative histograms that come and go with their engines.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

/// Bounds (as bits) and counts, each bucket on its own.
pub type Buckets = BTreeMap<u64, f64>;

/// `(upper bound, observations up to it)`, ascending, with `+Inf` last.
type Cumulative = Vec<(f64, f64)>;

/// Observations of the last seconds.
#[derive(Debug, Default)]
pub struct QuantileWindow {
    has_looked: bool,
    last: BTreeMap<String, Cumulative>,
    slices: VecDeque<(Timestamp, Buckets)>,
}

impl QuantileWindow {
    /// Takes in what each engine's histogram has gained since the last call, and forgets what is older than `seconds`.
    pub fn add(&mut self, histograms: &BTreeMap<String, Cumulative>, now: Timestamp, seconds: f64) {
        let mut gained = Buckets::new();
        for (engine, histogram) in histograms {
            let before = self.last.get(engine);
            let is_continued = before.is_some_and(|before| {
                before.len() == histogram.len() && before.iter().zip(histogram).all(|(a, b)| a.1 <= b.1)
            });
            let mut below = 0.0;
            for (place, (bound, count)) in histogram.iter().enumerate() {
                // What an engine shows at our very first look was gained before it; one that has come since began at zero.
                let old = match before {
                    Some(before) if is_continued => before[place].1,
                    None if self.has_looked => 0.0,
                    Some(_) | None => *count,
                };
                let new = count - old;
                let own = new - below;
                below = new;
                if own > 0.0 {
                    *gained.entry(bound.to_bits()).or_default() += own;
                }
            }
        }
        self.has_looked = true;
        self.last.clone_from(histograms);
        self.slices.push_back((now, gained));
        while self.slices.front().is_some_and(|(at, _)| now.duration_since(*at).as_secs_f64() > seconds) {
            self.slices.pop_front();
        }
    }

    /// What the last call of [`QuantileWindow::add`] brought.
    pub fn newest(&self) -> Option<&Buckets> {
        self.slices.back().map(|(_, gained)| gained)
    }

    /// The value below which the share `q` of the observations lies, interpolated in its bucket; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let mut all = Buckets::new();
        for (_, slice) in &self.slices {
            for (bits, count) in slice {
                *all.entry(*bits).or_default() += count;
            }
        }
        self.quantile_of(&all, q)
    }

    /// The same of observations that were put together elsewhere.
    pub fn quantile_of(&self, observations: &Buckets, q: f64) -> Option<f64> {
        let mut buckets: Vec<(f64, f64)> =
            observations.iter().map(|(bits, count)| (f64::from_bits(*bits), *count)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = buckets.iter().map(|(_, count)| count).sum();
        if total <= 0.0 {
            return None;
        }
        let bounds: Vec<f64> = self.bounds();
        let mut passed = 0.0;
        for (bound, count) in buckets {
            if passed + count >= q * total {
                let floor = bounds.iter().copied().filter(|lower| *lower < bound).fold(0.0, f64::max);
                if bound.is_infinite() {
                    return Some(floor);
                }
                return Some(floor + (bound - floor) * ((q * total - passed) / count).clamp(0.0, 1.0));
            }
            passed += count;
        }
        None
    }

    fn bounds(&self) -> Vec<f64> {
        self.last.values().next().map(|buckets| buckets.iter().map(|(bound, _)| *bound).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn histogram(counts: [f64; 3]) -> Cumulative {
        [0.1, 0.2, f64::INFINITY].into_iter().zip(counts).collect()
    }

    fn both(a: [f64; 3], b: [f64; 3]) -> BTreeMap<String, Cumulative> {
        BTreeMap::from([("a".to_owned(), histogram(a)), ("b".to_owned(), histogram(b))])
    }

    #[test]
    fn quantiles_are_those_of_the_last_seconds_over_all_engines() {
        let mut window = QuantileWindow::default();
        window.add(&both([100.0, 100.0, 100.0], [7.0, 9.0, 9.0]), at(0), 5.0);
        assert_eq!(window.quantile(0.5), None);
        window.add(&both([105.0, 110.0, 110.0], [7.0, 19.0, 19.0]), at(1), 5.0);
        // 5 up to 0.1 s and 15 between 0.1 and 0.2 s.
        assert!((window.quantile(0.25).unwrap() - 0.1).abs() < 1e-9);
        assert!((window.quantile(0.625).unwrap() - 0.15).abs() < 1e-9);
        window.add(&both([105.0, 110.0, 110.0], [7.0, 19.0, 19.0]), at(7), 5.0);
        assert_eq!(window.quantile(0.5), None);
    }

    #[test]
    fn an_engine_that_leaves_or_starts_over_adds_nothing_wrong() {
        let mut window = QuantileWindow::default();
        window.add(&both([10.0, 10.0, 10.0], [50.0, 50.0, 50.0]), at(0), 5.0);
        window.add(&BTreeMap::from([("a".to_owned(), histogram([12.0, 12.0, 12.0]))]), at(1), 5.0);
        assert!((window.quantile(1.0).unwrap() - 0.1).abs() < 1e-9);
        window.add(&BTreeMap::from([("a".to_owned(), histogram([0.0, 0.0, 1.0]))]), at(2), 5.0);
        assert!((window.quantile(1.0).unwrap() - 0.1).abs() < 1e-9);
    }
}
