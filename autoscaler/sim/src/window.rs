//! Largest and smallest values over sliding windows, in constant time a step.

use std::collections::VecDeque;

/// For each step the largest value of it and the `steps` that follow; windows are cut at the end.
#[must_use]
pub fn max_ahead<T: Copy + PartialOrd>(values: &[T], steps: usize) -> Vec<T> {
    let mut largest = slide(values.iter().rev(), values.len(), steps, |new, held| new >= held);
    largest.reverse();
    largest
}

/// For each step the largest value of it and the `steps` before; windows are cut at the start.
#[must_use]
pub fn max_behind<T: Copy + PartialOrd>(values: &[T], steps: usize) -> Vec<T> {
    slide(values.iter(), values.len(), steps, |new, held| new >= held)
}

/// For each step the smallest value of it and the `steps` before; windows are cut at the start.
#[must_use]
pub fn min_behind<T: Copy + PartialOrd>(values: &[T], steps: usize) -> Vec<T> {
    slide(values.iter(), values.len(), steps, |new, held| new <= held)
}

fn slide<'a, T: Copy + PartialOrd + 'a>(
    values: impl Iterator<Item = &'a T>,
    count: usize,
    steps: usize,
    replaces: impl Fn(T, T) -> bool,
) -> Vec<T> {
    let mut extremes = Vec::with_capacity(count);
    // Of every value only as long as no later one replaces it: the front is the extreme of the window.
    let mut held: VecDeque<(usize, T)> = VecDeque::new();
    for (at, &value) in values.enumerate() {
        while held.back().is_some_and(|(_, back)| replaces(value, *back)) {
            held.pop_back();
        }
        held.push_back((at, value));
        while held.front().is_some_and(|(from, _)| from + steps < at) {
            held.pop_front();
        }
        extremes.extend(held.front().map(|(_, value)| *value));
    }
    extremes
}

/// The largest value of the last `seconds`, as values come in.
#[derive(Debug, Clone)]
pub struct SlidingMax {
    seconds: f64,
    held: VecDeque<(f64, f64)>,
}

impl SlidingMax {
    /// Over a window of that many seconds; 0 keeps the newest value only.
    #[must_use]
    pub const fn new(seconds: f64) -> Self {
        Self { seconds, held: VecDeque::new() }
    }

    /// From now on the window is that long. What left a shorter one does not come back.
    pub const fn reach_back(&mut self, seconds: f64) {
        self.seconds = seconds;
    }

    /// Takes a value in and returns the largest of those not older than the window. Times must not go back.
    pub fn push(&mut self, now_seconds: f64, value: f64) -> f64 {
        while self.held.back().is_some_and(|(_, back)| value >= *back) {
            self.held.pop_back();
        }
        self.held.push_back((now_seconds, value));
        // A hair of slack: times are sums of steps, and a value exactly as old as the window still counts.
        while self.held.front().is_some_and(|(at, _)| *at < now_seconds - self.seconds - 1e-6) {
            self.held.pop_front();
        }
        self.held.front().map_or(value, |(_, largest)| *largest)
    }
}

/// The mean over time of the last `seconds`, as values come in; each value holds until the next.
#[derive(Debug, Clone)]
pub struct SlidingMean {
    seconds: f64,
    held: VecDeque<(f64, f64)>,
    sum: f64,
}

impl SlidingMean {
    /// Over a window of that many seconds.
    #[must_use]
    pub const fn new(seconds: f64) -> Self {
        Self { seconds, held: VecDeque::new(), sum: 0.0 }
    }

    /// Takes a value in and returns the mean of those in `(now - seconds, now]`. Times must not go back.
    pub fn push(&mut self, now_seconds: f64, value: f64) -> f64 {
        self.held.push_back((now_seconds, value));
        self.sum += value;
        while self.held.len() > 1 && self.held.front().is_some_and(|(at, _)| *at <= now_seconds - self.seconds + 1e-6) {
            self.sum -= self.held.pop_front().map_or(0.0, |(_, old)| old);
        }
        self.sum / self.held.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sliding_extremes_are_those_of_the_windows(values in prop::collection::vec(0u32..20, 1..60), steps in 0usize..12) {
            let (ahead, behind, least) = (max_ahead(&values, steps), max_behind(&values, steps), min_behind(&values, steps));
            let mut online = SlidingMax::new(steps as f64 * 10.0);
            for t in 0..values.len() {
                let before = &values[t.saturating_sub(steps)..=t];
                let after = &values[t..=(t + steps).min(values.len() - 1)];
                prop_assert_eq!(Some(&ahead[t]), after.iter().max());
                prop_assert_eq!(Some(&behind[t]), before.iter().max());
                prop_assert_eq!(Some(&least[t]), before.iter().min());
                let pushed = online.push(t as f64 * 10.0, f64::from(values[t]));
                prop_assert!((pushed - f64::from(behind[t])).abs() < 1e-9);
            }
        }

        #[test]
        fn a_sliding_mean_is_the_mean_of_its_window(values in prop::collection::vec(0u32..20, 1..60), steps in 1usize..12) {
            let mut online = SlidingMean::new(steps as f64 * 10.0);
            for t in 0..values.len() {
                let window = &values[(t + 1).saturating_sub(steps)..=t];
                let mean = window.iter().map(|v| f64::from(*v)).sum::<f64>() / window.len() as f64;
                prop_assert!((online.push(t as f64 * 10.0, f64::from(values[t])) - mean).abs() < 1e-9);
            }
        }
    }
}
