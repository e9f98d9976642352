//! NVIDIA Dynamo's planner for aggregated engines: its throughput loop, its load loop, and both.
//!
//! Throughput: every 180 s `ceil(predicted rate / rate at the objective)`; the prediction is for one interval, constant
//! (the last) or by a Kalman filter with local linear trend (`q_level` 1, `q_trend` 0.1, `r` 10, from five points on).
//! Its default, ARIMA fitted once, mostly degenerates to the constant and is not re-implemented. Load: every 5 s up by
//! one when the estimated TTFT or inter-token latency is above the objective, down by one when with `N / (N - 1)` of
//! the load both stay within 0.8 of it; nothing while a replica starts. Both: the former is the floor of the latter.

use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

const LOAD_SECONDS: f64 = 5.0;
const LEAST_POINTS: u32 = 5;

pub(super) const THROUGHPUT_KNOBS: &[Knob] = &[
    Knob { name: "interval", unit: " s", shipped: 180.0, tried: &[30.0, 60.0, 180.0, 600.0] },
    Knob { name: "Kalman filter", unit: "", shipped: 0.0, tried: &[0.0, 1.0] },
    Knob { name: "share of the rate", unit: "", shipped: 1.0, tried: &[0.25, 0.4, 0.55, 0.7, 0.85, 1.0] },
];

pub(super) const LOAD_KNOBS: &[Knob] = &[
    Knob {
        name: "share of the objective",
        unit: "",
        shipped: 1.0,
        tried: &[0.15, 0.25, 0.35, 0.45, 0.55, 0.7, 0.85, 1.0],
    },
    Knob { name: "down sensitivity", unit: "", shipped: 0.8, tried: &[0.4, 0.6, 0.7, 0.8, 0.9, 0.95] },
];

pub(super) const BOTH_KNOBS: &[Knob] = &[
    Knob { name: "interval", unit: " s", shipped: 180.0, tried: &[60.0, 180.0] },
    Knob { name: "Kalman filter", unit: "", shipped: 0.0, tried: &[0.0, 1.0] },
    Knob { name: "share of the rate", unit: "", shipped: 1.0, tried: &[0.4, 0.6, 0.8, 1.0] },
    Knob { name: "share of the objective", unit: "", shipped: 1.0, tried: &[0.45, 0.7, 1.0] },
];

pub(super) fn throughput(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Throughput::new(task, knobs))
}

pub(super) fn load(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Load { task: task.clone(), share: knobs[0], sensitivity: knobs[1] })
}

pub(super) fn both(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let load = Load { task: task.clone(), share: knobs[3], sensitivity: 0.8 };
    Box::new(Both { throughput: Throughput::new(task, knobs), load, next: 0.0, floor: 0 })
}

struct Throughput {
    interval_seconds: f64,
    requests_per_second: f64,
    kalman: Option<Kalman>,
    last: Option<(f64, f64)>,
}

impl Throughput {
    fn new(task: &Task, knobs: &[f64]) -> Self {
        Self {
            interval_seconds: knobs[0],
            requests_per_second: knobs[2] * task.capacity.requests_per_second,
            kalman: (knobs[1] > 0.5).then(Kalman::default),
            last: Some((0.0, 0.0)),
        }
    }
}

impl Policy for Throughput {
    fn period_seconds(&self) -> f64 {
        self.interval_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        // No traffic and no metrics both skip the round (their issue 6985).
        let Some((at, arrived)) = self.last.filter(|_| signals.is_fresh) else { return signals.replicas };
        let (seconds, requests) = (signals.now_seconds - at, signals.arrived_total - arrived);
        if seconds <= 0.0 || requests <= 0.0 {
            return signals.replicas;
        }
        self.last = Some((signals.now_seconds, signals.arrived_total));
        let predicted = self.kalman.as_mut().map_or(requests, |kalman| kalman.predict(requests));
        (predicted.max(0.0) / seconds / self.requests_per_second).ceil().max(1.0) as u32
    }
}

/// Local linear trend: level and slope, both a random walk.
#[derive(Debug, Default)]
struct Kalman {
    points: u32,
    level: f64,
    trend: f64,
    /// Covariance: of the level, of both, of the trend.
    p: [f64; 3],
}

impl Kalman {
    const LEVEL_NOISE: f64 = 1.0;
    const TREND_NOISE: f64 = 0.1;
    const MEASURING_NOISE: f64 = 10.0;

    /// Takes a value in; returns the next.
    fn predict(&mut self, value: f64) -> f64 {
        self.points += 1;
        if self.points == 1 {
            (self.level, self.p) = (value, [Self::MEASURING_NOISE, 0.0, 1.0]);
            return value;
        }
        let [a, b, c] = self.p;
        let (a, b, c) = (a + 2.0 * b + c + Self::LEVEL_NOISE, b + c, c + Self::TREND_NOISE);
        let expected = self.level + self.trend;
        let (gain_level, gain_trend) = (a / (a + Self::MEASURING_NOISE), b / (a + Self::MEASURING_NOISE));
        let surprise = value - expected;
        self.level = expected + gain_level * surprise;
        self.trend += gain_trend * surprise;
        self.p = [(1.0 - gain_level) * a, (1.0 - gain_level) * b, c - gain_trend * b];
        if self.points < LEAST_POINTS { value } else { self.level + self.trend }
    }
}

struct Load {
    task: Task,
    share: f64,
    sensitivity: f64,
}

impl Policy for Load {
    fn period_seconds(&self) -> f64 {
        LOAD_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let is_moving = signals.ready != signals.replicas;
        if !signals.is_fresh || is_moving || signals.ready == 0 {
            return signals.replicas;
        }
        let task = &self.task;
        let ready = f64::from(signals.ready);
        let (ttft_limit, gap_limit) =
            (self.share * task.objective.ttft_seconds, self.share * task.objective.inter_token_seconds);
        if signals.ttft_mean_seconds > ttft_limit || signals.inter_token_latency_mean_seconds > gap_limit {
            return signals.replicas + 1;
        }
        if signals.replicas < 2 {
            return signals.replicas;
        }
        let fewer = ready / (ready - 1.0);
        let gap = task.step.steady_step_seconds(signals.running / ready * fewer, &task.workload);
        let queue = (signals.ttft_mean_seconds - task.capacity.ttft_seconds).max(0.0) * fewer;
        let fits = signals.kv_cache_usage * fewer <= 1.0;
        if fits && gap <= self.sensitivity * gap_limit && queue <= self.sensitivity * ttft_limit {
            return signals.replicas - 1;
        }
        signals.replicas
    }
}

struct Both {
    throughput: Throughput,
    load: Load,
    next: f64,
    floor: u32,
}

impl Policy for Both {
    fn period_seconds(&self) -> f64 {
        LOAD_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if signals.now_seconds >= self.next {
            self.floor = self.throughput.decide(signals);
            self.next = signals.now_seconds + self.throughput.interval_seconds;
        }
        self.load.decide(signals).max(self.floor)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_filter_follows_a_line_and_predicts_its_next_point() {
        let mut kalman = Kalman::default();
        let predicted: Vec<f64> = (0..60).map(|t| kalman.predict(100.0 + 3.0 * f64::from(t))).collect();
        assert!((predicted[59] - (100.0 + 3.0 * 60.0)).abs() < 0.5, "{}", predicted[59]);
        assert_eq!(predicted[3], 109.0, "below five points the last value");
    }
}
