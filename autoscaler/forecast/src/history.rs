//! Demand of the past, one value a plan step.

/// Values between two kept sums: means over a window add at most two of these runs.
const BLOCK: u64 = 32;

/// Demand of the last steps, by absolute index of the step. Bounded: the oldest are forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Ring, its length a power of two.
    values: Vec<f32>,
    /// Sum of all values before each block, in a ring of its own.
    sums: Vec<f64>,
    first: u64,
    next: u64,
    total: f64,
    most: usize,
}

impl History {
    /// Empty; the first value will be that of step `next`, and at least the last `most` are kept.
    #[must_use]
    pub fn new(next: u64, most: usize) -> Self {
        let mut history = Self { values: Vec::new(), sums: Vec::new(), first: next, next, total: 0.0, most };
        history.grow(1024.min(most.next_power_of_two()));
        history
    }

    /// Index of the oldest step kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Index of the step that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Steps kept.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Adds the demand of the next step.
    pub fn push(&mut self, demand: f64) {
        let capacity = self.values.len();
        if self.len() == capacity {
            if capacity < self.most.next_power_of_two() {
                self.grow(capacity * 2);
            } else {
                self.first += 1;
            }
        }
        if self.next.is_multiple_of(BLOCK) {
            let slot = self.sum_slot(self.next);
            self.sums[slot] = self.total;
        }
        let value = demand as f32;
        let slot = self.slot(self.next);
        self.values[slot] = value;
        self.total += f64::from(value);
        self.next += 1;
    }

    /// Demand of a step that is kept; the nearest one that is, for another.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        f64::from(self.values[self.slot(step.clamp(self.first, self.next - 1))])
    }

    /// Mean demand of the `window` steps before `step`, or of as many of them as are kept; 0 if none is.
    #[must_use]
    pub fn mean_before(&self, step: u64, window: usize) -> f64 {
        let to = step.clamp(self.first, self.next);
        let from = step.saturating_sub(window as u64).clamp(self.first, to);
        if from == to { 0.0 } else { (self.sum_to(to) - self.sum_to(from)) / (to - from) as f64 }
    }

    /// Largest demand of the steps `from..to` that are kept; 0 if none is.
    #[must_use]
    pub fn most_of(&self, from: u64, to: u64) -> f64 {
        let (from, to) = (from.clamp(self.first, self.next), to.clamp(self.first, self.next));
        (from..to).map(|step| f64::from(self.values[self.slot(step)])).fold(0.0, f64::max)
    }

    /// Everything kept, oldest first.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        (self.first..self.next).map(|step| self.values[self.slot(step)])
    }

    /// Sum of all values before `step`, which is at least `first` and at most `next`.
    fn sum_to(&self, step: u64) -> f64 {
        if step == self.next {
            return self.total;
        }
        let block = step - step % BLOCK;
        if block >= self.first && block < self.next {
            let rest: f64 = (block..step).map(|index| f64::from(self.values[self.slot(index)])).sum();
            self.sums[self.sum_slot(block)] + rest
        } else {
            // The first block is kept in part: count back from the next one, or from the end.
            let end = (block + BLOCK).min(self.next);
            let after = if end == self.next { self.total } else { self.sums[self.sum_slot(end)] };
            let rest: f64 = (step..end).map(|index| f64::from(self.values[self.slot(index)])).sum();
            after - rest
        }
    }

    fn slot(&self, step: u64) -> usize {
        step as usize & (self.values.len() - 1)
    }

    fn sum_slot(&self, step: u64) -> usize {
        (step / BLOCK) as usize & (self.sums.len() - 1)
    }

    fn grow(&mut self, capacity: usize) {
        let capacity = capacity.max(2 * BLOCK as usize);
        let mut grown = Self {
            values: vec![0.0; capacity],
            sums: vec![0.0; 2 * capacity / BLOCK as usize],
            first: self.first,
            next: self.first,
            total: 0.0,
            most: self.most,
        };
        for value in self.values() {
            grown.push(f64::from(value));
        }
        *self = grown;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn means_and_maxima_are_those_of_the_values_kept(
            start in 0_u64..1000,
            values in prop::collection::vec(0.0_f64..100.0, 1..3000),
            probes in prop::collection::vec((0_usize..4000, 1_usize..400), 1..20),
        ) {
            let mut history = History::new(start, 1000);
            for value in &values {
                history.push(*value);
            }
            prop_assert!(history.len() >= values.len().min(1000));
            let kept: Vec<f64> = values[values.len() - history.len()..].iter().map(|value| f64::from(*value as f32)).collect();
            for (offset, window) in probes {
                let step = history.first() + (offset % (kept.len() + 1)) as u64;
                let to = (step - history.first()) as usize;
                let window_values = &kept[to.saturating_sub(window)..to];
                let expected = if window_values.is_empty() { 0.0 } else { window_values.iter().sum::<f64>() / window_values.len() as f64 };
                prop_assert!((history.mean_before(step, window) - expected).abs() < 1e-6);
                let most = window_values.iter().copied().fold(0.0, f64::max);
                prop_assert!((history.most_of(step.saturating_sub(window as u64), step) - most).abs() < 1e-9);
            }
        }
    }
}
