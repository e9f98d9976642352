//! A latency as a line over requests in service: weighted least squares on six fading sums.

use serde::{Deserialize, Serialize};

/// Weight below which nothing is said.
const ENOUGH: f64 = 4.0;

/// Weight from which an outlier can be told from a change.
const ENOUGH_TO_JUDGE: f64 = 10.0;

/// A sample further off than this many deviations counts less, in proportion (Huber).
const OUTLIER_DEVIATIONS: f64 = 4.0;

/// The load must have varied by this share of its mean before a slope is believed.
const SPREAD: f64 = 0.1;

/// Smallest believed slope, as a share of `mean latency / mean load`. Flatter lines are noise: the steps of every
/// measured model grow by more than this.
const LEAST_SLOPE: f64 = 0.02;

/// The scatter of the samples takes at most the rest of the objective: scatter that load does not cause, fewer requests
/// do not cure.
const LEAST_ROOM: f64 = 0.8;

/// The reach is never below this share of the load it was learned at: after a cut the engines are seen at less load, and
/// the line is known there before the next one.
const STEEPEST_CUT: f64 = 0.5;

/// One interval of one engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LatencySample {
    /// Mean requests in service.
    pub(crate) in_service: f64,
    /// Mean latency in seconds.
    pub(crate) seconds: f64,
    /// Weight: the interval's length in control periods.
    pub(crate) weight: f64,
}

/// How far the load may grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reach {
    /// Too little is known.
    Unknown,
    /// The objective is met up to this many requests at once.
    At(f64),
    /// Not even one request at a time meets it.
    Never,
}

/// Fading sums of weight, x, y, xx, xy, yy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyFit {
    w: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

/// The line through the samples.
struct Line {
    mean_x: f64,
    mean_y: f64,
    slope: f64,
    deviation: f64,
    has_spread: bool,
}

impl LatencyFit {
    pub(crate) fn fade(&mut self, keep: f64) {
        for sum in [&mut self.w, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy, &mut self.yy] {
            *sum *= keep;
        }
    }

    pub(crate) fn add(&mut self, sample: &LatencySample) {
        let mut weight = sample.weight;
        if self.w >= ENOUGH_TO_JUDGE
            && let Some(line) = self.line()
        {
            let off = (sample.seconds - line.at(sample.in_service)).abs();
            // A twentieth of the mean is the least deviation: an idle engine is so regular that anything would be an outlier.
            let bound = OUTLIER_DEVIATIONS * line.deviation.max(0.05 * line.mean_y);
            if off > bound {
                weight *= bound / off;
            }
        }
        let (x, y) = (sample.in_service, sample.seconds);
        self.w += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
        self.yy += weight * y * y;
    }

    /// Mean latency expected at a load.
    pub(crate) fn expected(&self, in_service: f64) -> Option<f64> {
        self.line().filter(|_| self.w >= ENOUGH).map(|line| line.at(in_service).max(0.0))
    }

    /// The load at which `objective` is just met, with room for the scatter of the samples.
    pub(crate) fn reach(&self, objective: f64, deviations: f64) -> Reach {
        let Some(line) = self.line().filter(|_| self.w >= ENOUGH) else { return Reach::Unknown };
        if !line.has_spread {
            // One load only was seen, so the slope is a guess: a line through the origin. Below the objective it is the
            // steepest possible and would order too early; the prior or a full engine decides then.
            let reach = line.mean_x * objective / line.mean_y;
            return if line.mean_y <= objective { Reach::Unknown } else { Reach::At(reach.max(1.0)) };
        }
        if line.at(1.0) > objective {
            return Reach::Never;
        }
        let room = (objective - deviations * line.deviation).max(LEAST_ROOM * objective);
        let reach = line.mean_x + (room - line.mean_y) / line.slope;
        Reach::At(reach.max(STEEPEST_CUT * line.mean_x).max(1.0))
    }

    fn line(&self) -> Option<Line> {
        if self.w <= 0.0 || self.x <= 0.0 || self.y <= 0.0 {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.w, self.y / self.w);
        let var_x = (self.xx / self.w - mean_x * mean_x).max(0.0);
        let var_y = (self.yy / self.w - mean_y * mean_y).max(0.0);
        let covariance = self.xy / self.w - mean_x * mean_y;
        let has_spread = var_x.sqrt() > SPREAD * mean_x;
        let steepest = mean_y / mean_x;
        let slope = if has_spread { (covariance / var_x).clamp(LEAST_SLOPE * steepest, steepest) } else { steepest };
        let explained = slope * (2.0 * covariance - slope * var_x);
        Some(Line { mean_x, mean_y, slope, deviation: (var_y - explained).max(0.0).sqrt(), has_spread })
    }
}

impl Line {
    fn at(&self, x: f64) -> f64 {
        self.mean_y + self.slope * (x - self.mean_x)
    }
}
