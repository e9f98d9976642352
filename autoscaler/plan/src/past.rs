//! What a recorder kept of the past, turned into demand: the history that a plan has not lived through itself.

use autoscaler_forecast::Rhythm;
use jiff::Timestamp;

use crate::planner::{MOST_GAP_STEPS, SEASONS_KEPT};

/// Arrivals of the past, evenly spaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// When the first value begins.
    pub begin: Timestamp,
    /// Length of each value's stretch, in seconds, above 0.
    pub step_seconds: f64,
    /// Mean requests a second of each stretch; `None` where nothing was recorded.
    pub per_second: Vec<Option<f64>>,
}

/// What turns arrivals into replicas, as learned by now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaUnits {
    /// Seconds a request is in service.
    pub service_seconds: f64,
    /// Requests at once that a replica carries.
    pub requests: f64,
}

impl ReplicaUnits {
    /// Replicas that one request a second keeps busy.
    #[must_use]
    pub fn replicas_per_arrival(&self) -> f64 {
        self.service_seconds / self.requests
    }
}

impl Past {
    /// Demand in replicas, one value a plan step, with the index of the first step. As a plan sees it while it lives: what
    /// arrived within the last service time. Short gaps hold the value before them; what lies before a long one is left out.
    pub(crate) fn demand(&self, rhythm: &Rhythm, units: &ReplicaUnits) -> Option<(u64, Vec<f64>)> {
        let usable = |value: f64| value.is_finite() && value >= 0.0;
        if !(self.step_seconds > 0.0 && usable(units.service_seconds) && units.requests > 0.0) {
            return None;
        }
        let most_gap = (MOST_GAP_STEPS as f64 * rhythm.step_seconds() / self.step_seconds).ceil() as usize;
        let (skipped, rates) = self.without_gaps(most_gap, usable)?;
        // Requests that had arrived by the end of each stretch.
        let mut arrived = Vec::with_capacity(rates.len() + 1);
        arrived.push(0.0);
        for rate in &rates {
            arrived.push(arrived.last().copied().unwrap_or(0.0) + rate * self.step_seconds);
        }
        let begin = seconds(self.begin) + skipped as f64 * self.step_seconds;
        let end = begin + rates.len() as f64 * self.step_seconds;
        let arrived_by = |moment: f64| {
            let position = ((moment - begin) / self.step_seconds).clamp(0.0, rates.len() as f64);
            let before = (position.floor() as usize).min(rates.len().saturating_sub(1));
            let inside = position - before as f64;
            // Before the record nothing is known: the first rate is taken to have been there all along.
            let missing = (begin - moment).max(0.0) * rates.first().copied().unwrap_or(0.0);
            arrived.get(before).copied().unwrap_or(0.0)
                + inside * rates.get(before).copied().unwrap_or(0.0) * self.step_seconds
                - missing
        };
        let step = rhythm.step_seconds();
        let stay = units.service_seconds.max(step);
        let most = rhythm.seasons(SEASONS_KEPT) as u64;
        let to = (end / step).floor().max(0.0) as u64;
        let from = ((begin / step).ceil().max(0.0) as u64).max(to.saturating_sub(most));
        let demand = |index: u64| {
            // Half a step behind its end, which is the mean over the step.
            let at = if stay > step { (index as f64 + 0.5) * step } else { (index as f64 + 1.0) * step };
            let rate = (arrived_by(at) - arrived_by(at - stay)) / stay;
            rate.max(0.0) * units.replicas_per_arrival()
        };
        (from < to).then(|| (from, (from..to).map(demand).collect()))
    }

    /// The last stretch without a gap of `most_gap` values, filled, and how many values before it were left out.
    fn without_gaps(&self, most_gap: usize, usable: impl Fn(f64) -> bool) -> Option<(usize, Vec<f64>)> {
        let value = |at: usize| self.per_second[at].filter(|value| usable(*value));
        let (mut first, mut last): (Option<usize>, usize) = (None, 0);
        for at in (0..self.per_second.len()).filter(|at| value(*at).is_some()) {
            if first.is_none() || at - last > most_gap {
                first = Some(at);
            }
            last = at;
        }
        let first = first?;
        let mut held = 0.0;
        let filled = (first..=last).map(|at| {
            held = value(at).unwrap_or(held);
            held
        });
        Some((first, filled.collect()))
    }
}

fn seconds(moment: Timestamp) -> f64 {
    moment.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

#[cfg(test)]
mod tests;
