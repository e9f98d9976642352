//! Crane's effective HPA (gocrane): an HPA above the highest of the past periods over the next hour.
//!
//! Demand by the minute, up to 15 days of it; when it repeats by the day (autocorrelation), the prediction is the
//! largest of the past days at these minutes with a margin, and the largest of the next 3600 s counts, in the HPA's
//! rule of the maximum. Crane also offers a low-pass Fourier reconstruction and picks by the last period's error; the
//! maximum is the estimator it recommends for scaling and the one here.

use super::hpa::{Hpa, SYNC_SECONDS, combine};
use super::hpa_queue::{HpaQueue, behavior};
use super::knob::Knob;
use super::meter::Meter;
use crate::window::max_behind;
use crate::{Demand, Policy, Signals, Task};

const MINUTE_SECONDS: f64 = 60.0;
const DAY_MINUTES: usize = 1440;
const MOST_DAYS: usize = 15;
const LEAST_CORRELATION: f64 = 0.2;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "margin", unit: "", shipped: 0.1, tried: &[-0.3, -0.1, 0.1, 0.3] },
    Knob { name: "window", unit: " s", shipped: 3600.0, tried: &[300.0, 900.0, 3600.0] },
    Knob { name: "target", unit: " of capacity", shipped: 0.8, tried: &[0.35, 0.5, 0.65, 0.8] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Crane {
        factor: (1.0 + knobs[0]) / knobs[2],
        window_minutes: (knobs[1] / MINUTE_SECONDS) as usize,
        meter: Meter::new(task),
        minutes: Vec::new(),
        profile: Vec::new(),
        queue: HpaQueue::new(task, knobs[2], 300.0),
        hpa: Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(300.0))),
    })
}

struct Crane {
    /// Replicas for each replica of predicted demand.
    factor: f64,
    window_minutes: usize,
    meter: Meter,
    /// Largest mean demand of each minute since the start.
    minutes: Vec<f64>,
    /// Largest of the past days from each minute of the day over the window; empty when days do not repeat.
    profile: Vec<f64>,
    queue: HpaQueue,
    hpa: Hpa,
}

impl Crane {
    fn learn(&mut self, now: f64, load: f64) {
        let minute = (now / MINUTE_SECONDS) as usize;
        while self.minutes.len() <= minute {
            let is_midnight = self.minutes.len().is_multiple_of(DAY_MINUTES);
            if is_midnight && !self.minutes.is_empty() {
                self.fit();
            }
            // A minute without a decision, or lost, is as the one before.
            self.minutes.push(self.minutes.last().copied().unwrap_or(load));
            if self.minutes.len() == minute + 1 {
                self.minutes[minute] = load;
            }
        }
        self.minutes[minute] = self.minutes[minute].max(load);
    }

    /// Renews the profile from whole days.
    fn fit(&mut self) {
        let days = &self.minutes[self.minutes.len().saturating_sub(MOST_DAYS * DAY_MINUTES)..];
        if days.len() >= 2 * DAY_MINUTES && correlation(days, DAY_MINUTES) < LEAST_CORRELATION {
            self.profile.clear();
            return;
        }
        let mut day = vec![0.0f64; DAY_MINUTES];
        for (minute, load) in days.iter().enumerate() {
            day[minute % DAY_MINUTES] = day[minute % DAY_MINUTES].max(*load);
        }
        let twice: Vec<f64> = day.iter().chain(&day).copied().collect();
        let largest = max_behind(&twice, self.window_minutes);
        self.profile = (0..DAY_MINUTES).map(|m| largest[m + self.window_minutes.min(DAY_MINUTES - 1)]).collect();
    }
}

impl Policy for Crane {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let now = signals.now_seconds;
        if signals.is_fresh {
            let load = self.meter.read(signals);
            self.learn(now, load.mean);
        }
        let minute = (now / MINUTE_SECONDS) as usize % DAY_MINUTES;
        let predicted = (self.profile.get(minute).copied().unwrap_or(0.0) * self.factor).ceil() as u32;
        let queue = self.queue.recommended(signals);
        self.hpa.settle(now, signals.replicas, combine(&[Some(predicted), queue], signals.replicas))
    }
}

fn correlation(values: &[f64], lag: usize) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let together: f64 = values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum();
    if variance > 0.0 { together / variance } else { 0.0 }
}
