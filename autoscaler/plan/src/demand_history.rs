//! Demand of the days before, which a shell keeps beside the state: with it a restart forecasts as if there had been none.

use autoscaler_forecast::Rhythm;

use crate::planner::{MOST_GAP_STEPS, SEASONS_KEPT};

/// Demand of plan steps one after the other, in replicas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DemandHistory {
    /// Index of the first step: seconds since 1970 over the length of a plan step.
    pub first_step: u64,
    /// Demand of each.
    pub replicas: Vec<f32>,
}

impl DemandHistory {
    /// Steps that a forecast looks back at; older ones are of no use.
    #[must_use]
    pub fn most_steps(rhythm: &Rhythm) -> usize {
        rhythm.seasons(SEASONS_KEPT)
    }

    /// Index of the step after the last one.
    #[must_use]
    pub fn next_step(&self) -> u64 {
        self.first_step + self.replicas.len() as u64
    }

    /// Adds the demand of a step. A short gap before it holds the demand before that; after a long one all begins anew. What is
    /// known already stays.
    pub fn add(&mut self, step: u64, replicas: f32) {
        if self.replicas.is_empty() || step >= self.next_step() {
            self.hold_until(step);
            self.replicas.push(replicas);
        }
    }

    /// Lets the last demand last until `step`; after a long gap, or with nothing before it, all begins anew there.
    fn hold_until(&mut self, step: u64) {
        match self.replicas.last() {
            Some(last) if step <= self.next_step() + MOST_GAP_STEPS => {
                self.replicas.resize((step - self.first_step) as usize, *last);
            }
            _ => *self = Self { first_step: step, replicas: Vec::new() },
        }
    }

    /// Goes on with `recent`, which ends before step `next`. A short gap between the two holds the demand before it; what lies
    /// before a long one, or is not of the past, is of no use.
    pub(crate) fn continued_by(mut self, recent: &[f32], next: u64) -> Self {
        let begin = next.saturating_sub(recent.len() as u64);
        self.replicas.truncate(begin.saturating_sub(self.first_step) as usize);
        self.hold_until(begin);
        self.replicas.extend(recent);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(first_step: u64, replicas: &[f32]) -> DemandHistory {
        DemandHistory { first_step, replicas: replicas.to_vec() }
    }

    #[test]
    fn what_was_kept_goes_on_with_what_is_remembered() {
        let kept = history(10, &[1.0, 2.0, 3.0]);
        assert_eq!(kept.clone().continued_by(&[4.0], 14), history(10, &[1.0, 2.0, 3.0, 4.0]), "end to end");
        assert_eq!(
            kept.clone().continued_by(&[8.0, 9.0], 14),
            history(10, &[1.0, 2.0, 8.0, 9.0]),
            "the state knows better"
        );
        assert_eq!(
            kept.clone().continued_by(&[4.0], 16),
            history(10, &[1.0, 2.0, 3.0, 3.0, 3.0, 4.0]),
            "a short gap is held"
        );
        assert_eq!(kept.continued_by(&[], 14), history(10, &[1.0, 2.0, 3.0, 3.0]), "the state is lost");
    }

    #[test]
    fn what_ended_long_ago_or_lies_in_the_future_is_of_no_use() {
        let long_after = 13 + MOST_GAP_STEPS + 2;
        let kept = history(10, &[1.0, 2.0, 3.0]);
        assert_eq!(kept.clone().continued_by(&[4.0], long_after), history(long_after - 1, &[4.0]));
        assert_eq!(kept.continued_by(&[4.0], 5), history(4, &[4.0]));
        assert_eq!(DemandHistory::default().continued_by(&[4.0], 5), history(4, &[4.0]));
    }
}
