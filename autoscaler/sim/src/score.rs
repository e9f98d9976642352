//! What a run came to.

use serde::Serialize;

/// How closely a run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Demand against capacity, step by step.
    Fluid,
    /// Every request in every engine.
    Events,
}

/// Who goes first in the router's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Discipline {
    /// First come, first served.
    Fifo,
    /// Requests past their objective of time to first token yield to those that can still make it.
    Deadline,
}

impl Discipline {
    /// As flags and lines of output name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Deadline => "deadline",
        }
    }
}

/// Shares of the time in which demand stayed below a forecast quantile, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coverage {
    /// Of the median.
    pub p50: f64,
    /// Of the 80 % quantile.
    pub p80: f64,
    /// Of the 95 % quantile.
    pub p95: f64,
    /// Of the 99 % quantile.
    pub p99: f64,
}

/// Quantiles in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95 % quantile.
    pub p95: f64,
    /// 99 % quantile.
    pub p99: f64,
}

/// One run of one policy on one trace: a line of `autoscaler simulate --output json`, whose names scripts rely on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the policy.
    pub policy: String,
    /// How its knobs were set: `defaults`, `tuned` (on the first half) or `hindsight` (on all of it).
    pub tuned: String,
    /// Name of the trace.
    pub trace: String,
    /// How closely the run looked.
    pub level: Level,
    /// Queue discipline.
    pub queue: Discipline,
    /// Seed of arrivals and start-up times.
    pub seed: u64,
    /// Mean start-up time.
    pub startup_seconds: f64,
    /// Requests scored.
    pub requests: f64,
    /// Share of requests that met the objective, 0 to 1.
    pub attainment: f64,
    /// The same in the worst hour.
    pub attainment_worst_hour: f64,
    /// Share of demand above the Ready capacity, 0 to 1.
    pub overflow: f64,
    /// Seconds of engines that were billed, from order to deletion.
    pub engine_seconds: f64,
    /// The same of the clairvoyant optimum without misses.
    pub opt_engine_seconds: f64,
    /// Their ratio.
    pub times_opt: f64,
    /// Engines billed, in the mean.
    pub mean_replicas: f64,
    /// Time to first token, in seconds.
    pub ttft_seconds: Quantiles,
    /// Engines ordered.
    pub starts: u64,
    /// Engines deleted before they were Ready.
    pub starts_wasted: u64,
    /// Changes of direction within ten minutes, per day.
    pub reversals_per_day: f64,
    /// How often the forecast's quantiles held; null for policies that do not forecast.
    pub forecast_coverage: Option<Coverage>,
}
