//! Predictive HPA (jthomperoo): an HPA whose own past recommendations are extrapolated, combined by the maximum.
//!
//! Models: linear regression over the last recommendations, `lookAhead` ahead, or additive Holt-Winters with a season of
//! a day, both of the replicas that the plain HPA asks for, every 15 s. Its examples look ahead 10 s over a history
//! of six; what it predicts is itself limited by saturation and by its own decisions.

use std::collections::VecDeque;

use super::hpa::{Hpa, SYNC_SECONDS, combine};
use super::hpa_queue::HpaQueue;
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

const DAY_SECONDS: f64 = 86_400.0;
/// Smoothing of its Holt-Winters example.
const LEVEL_GAIN: f64 = 0.9;
const TREND_GAIN: f64 = 0.1;
const SEASON_GAIN: f64 = 0.9;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "Holt-Winters", unit: "", shipped: 0.0, tried: &[0.0, 1.0] },
    Knob { name: "look ahead", unit: " s", shipped: 10.0, tried: &[60.0, 240.0, 480.0] },
    Knob { name: "history", unit: "", shipped: 6.0, tried: &[6.0, 40.0] },
    Knob { name: "target", unit: " of capacity", shipped: 0.8, tried: &[0.35, 0.5, 0.65, 0.8] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let ahead_rounds = knobs[1] / SYNC_SECONDS;
    let model = if knobs[0] > 0.5 {
        Model::HoltWinters(HoltWinters::new((DAY_SECONDS / SYNC_SECONDS) as usize))
    } else {
        Model::Linear { history: VecDeque::new(), size: knobs[2] as usize }
    };
    Box::new(Phpa {
        model,
        ahead_rounds,
        queue: HpaQueue::new(task, knobs[3], 300.0),
        hpa: Hpa::new(task.min_replicas, task.max_replicas, None),
    })
}

struct Phpa {
    model: Model,
    ahead_rounds: f64,
    queue: HpaQueue,
    hpa: Hpa,
}

enum Model {
    Linear { history: VecDeque<f64>, size: usize },
    HoltWinters(HoltWinters),
}

impl Policy for Phpa {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let plain = self.queue.recommended(signals);
        let predicted = plain.map(|replicas| match &mut self.model {
            Model::Linear { history, size } => {
                history.push_back(f64::from(replicas));
                if history.len() > *size {
                    history.pop_front();
                }
                linear(history, self.ahead_rounds)
            }
            Model::HoltWinters(model) => model.predict(f64::from(replicas), self.ahead_rounds),
        });
        let predicted = predicted.map(|replicas| replicas.ceil().max(0.0) as u32);
        self.hpa.settle(signals.now_seconds, signals.replicas, combine(&[plain, predicted], signals.replicas))
    }
}

/// Least squares over equal steps, continued by `ahead` steps after the last.
fn linear(values: &VecDeque<f64>, ahead: f64) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let x = x as f64 - mean_x;
        xy += x * (y - mean_y);
        xx += x * x;
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    mean_y + slope * (mean_x + ahead)
}

struct HoltWinters {
    level: Option<f64>,
    trend: f64,
    season: Vec<f64>,
    at: usize,
}

impl HoltWinters {
    fn new(season_rounds: usize) -> Self {
        Self { level: None, trend: 0.0, season: vec![0.0; season_rounds.max(1)], at: 0 }
    }

    /// Takes a value in; returns the one `ahead` rounds later.
    fn predict(&mut self, value: f64, ahead: f64) -> f64 {
        let rounds = self.season.len();
        let slot = self.at % rounds;
        self.at += 1;
        let Some(level) = self.level else {
            self.level = Some(value);
            return value;
        };
        let season = self.season[slot];
        let next = LEVEL_GAIN * (value - season) + (1.0 - LEVEL_GAIN) * (level + self.trend);
        self.trend = TREND_GAIN * (next - level) + (1.0 - TREND_GAIN) * self.trend;
        // Within the first season there is none to correct: it is learned against the mean that follows.
        self.season[slot] = SEASON_GAIN * (value - next) + (1.0 - SEASON_GAIN) * season;
        self.level = Some(next);
        next + ahead * self.trend + self.season[(slot + ahead.round() as usize) % rounds]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_continued() {
        let values: VecDeque<f64> = [1.0, 3.0, 5.0, 7.0].into();
        assert!((linear(&values, 2.0) - 11.0).abs() < 1e-12);
        assert!((linear(&[4.0].into(), 9.0) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn smoothing_follows_a_level_and_a_slope() {
        let mut model = HoltWinters::new(1000);
        let predicted: Vec<f64> = (0..200).map(|t| model.predict(50.0 + f64::from(t), 10.0)).collect();
        assert!((predicted[199] - 259.0).abs() < 3.0, "{}", predicted[199]);
    }
}
