//! What a replica carries: the most requests at once that keep the objective, learned from the engines' own metrics.
//!
//! Two latencies (between tokens, to the first token) are fitted as lines over the number of requests in service, from
//! sums and counts alone, because the buckets of a time-scaled or re-bucketed engine say nothing. An engine that keeps
//! requests waiting shows its limit directly: the batch it runs meanwhile. The smallest of these is the capacity.

mod fit;
mod intervals;

use serde::{Deserialize, Serialize};
use statrs::function::erf::erf_inv;

use crate::facts::Objective;
use fit::{LatencyFit, Reach};
pub(crate) use intervals::{EngineLoad, Intervals};

/// Extrapolation bound: capacity is never believed beyond this multiple of what was seen to keep the objective.
const BEYOND_PROVEN: f64 = 2.0;

/// Weight of one more sighting of an engine that is full.
const FULL_WEIGHT: f64 = 0.3;

/// Learned capacity of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Capacity {
    /// Requests at once that a replica carries within the objective.
    pub requests: f64,
    /// What set the number.
    pub source: CapacitySource,
    /// Time to first token expected at that load, in seconds; 0 until learned.
    pub ttft_seconds: f64,
    /// Whether even one request at a time misses the objective.
    pub objective_out_of_reach: bool,
}

/// What sets the capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CapacitySource {
    /// Nothing learned yet.
    Prior,
    /// The time between tokens reaches its objective.
    InterTokenLatency,
    /// The time to first token reaches its objective.
    TimeToFirstToken,
    /// Engines were seen full: requests waited while this many ran.
    Saturation,
}

impl CapacitySource {
    /// In words, to follow "set by".
    #[must_use]
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Prior => "the prior, until learned",
            Self::InterTokenLatency => "the time between tokens",
            Self::TimeToFirstToken => "the time to first token",
            Self::Saturation => "engines seen full",
        }
    }
}

/// What is remembered of capacity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapacityState {
    inter_token_latency: LatencyFit,
    ttft: LatencyFit,
    /// Requests an engine ran while others waited in it.
    full: Option<f64>,
    /// Most requests at once seen to keep the objective.
    proven: f64,
}

impl CapacityState {
    /// Lets old samples fade.
    pub(crate) fn fade(&mut self, elapsed_seconds: f64, memory_seconds: f64) {
        let keep = (-elapsed_seconds / memory_seconds).exp();
        self.inter_token_latency.fade(keep);
        self.ttft.fade(keep);
    }

    /// Learns from one look at one warm engine.
    pub(crate) fn learn(&mut self, intervals: &mut Intervals, load: &EngineLoad, objective: &Objective) {
        let step = intervals.advance(load);
        if let Some(sample) = step.inter_token_latency {
            self.inter_token_latency.add(&sample);
            if sample.seconds <= objective.inter_token_latency_seconds {
                self.proven = self.proven.max(sample.in_service);
            }
        }
        if let Some(sample) = step.ttft {
            self.ttft.add(&sample);
        }
        if let Some(running) = step.full_at {
            self.full = Some(self.full.map_or(running, |full| full + FULL_WEIGHT * (running - full)));
        }
        // More was carried without anybody waiting: the limit seen earlier has risen (longer prompts have gone).
        if step.calm
            && let Some(full) = self.full
            && load.in_service > full
        {
            self.full = Some(load.in_service);
        }
    }

    /// The capacity at an objective.
    pub(crate) fn at(&self, objective: &Objective, prior: f64) -> Capacity {
        let deviations = standard_deviations(objective.attainment);
        let between = self.inter_token_latency.reach(objective.inter_token_latency_seconds, deviations);
        let first = self.ttft.reach(objective.ttft_seconds, deviations);
        let ceiling = prior.max(BEYOND_PROVEN * self.proven);
        let mut best = (ceiling.min(self.full.unwrap_or(f64::INFINITY)), CapacitySource::Prior);
        if self.full.is_some_and(|full| full <= ceiling) {
            best.1 = CapacitySource::Saturation;
        }
        for (reach, source) in [(between, CapacitySource::InterTokenLatency), (first, CapacitySource::TimeToFirstToken)]
        {
            if let Reach::At(requests) = reach
                && requests < best.0
            {
                best = (requests, source);
            }
        }
        let requests = best.0.max(1.0);
        Capacity {
            requests,
            source: best.1,
            ttft_seconds: self.ttft.expected(requests).unwrap_or(0.0),
            objective_out_of_reach: matches!(between, Reach::Never) || matches!(first, Reach::Never),
        }
    }
}

/// How many standard deviations cover a share of a normal distribution from below.
pub(crate) fn standard_deviations(share: f64) -> f64 {
    std::f64::consts::SQRT_2 * erf_inv(2.0 * share - 1.0)
}

#[cfg(test)]
mod tests;
