//! Conformal headroom: the headroom is a quantile of what it should have been over the last day.
//!
//! `ceil(quantile of {largest demand of (t, t + L] / mean demand at t} over 24 h · mean demand)`, held at its maximum.
//! From our survey: calibration alone is not a policy, it behaves like reactive with a tuned headroom.

use std::collections::VecDeque;

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

const LOOK_BACK_SECONDS: f64 = 86_400.0;
/// Classes of the ratio, 2 % wide from 1 on: up to 150.
const CLASSES: usize = 256;
const CLASS_WIDTH: f64 = 0.0198;
/// Before anything is learned: as reactive begins.
const UNTAUGHT_HEADROOM: f64 = 1.3;
/// Decisions from one look at the classes to the next.
const RENEWED_EVERY: usize = 6;
/// Load below which a ratio means nothing.
const LEAST_LOAD: f64 = 0.25;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "quantile", unit: "", shipped: 0.99, tried: &[0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.998] },
    Knob { name: "hold", unit: " s", shipped: 300.0, tried: &[0.0, 120.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let period_seconds = usual_period(demand);
    Box::new(HeadroomConformal {
        period_seconds,
        quantile: knobs[0],
        startup_steps: (task.startup_seconds / period_seconds).ceil() as usize,
        kept_steps: (LOOK_BACK_SECONDS / period_seconds).ceil() as usize,
        meter: Meter::new(task),
        hold: SlidingMax::new(knobs[1]),
        ahead: SlidingMax::new(task.startup_seconds),
        loads: VecDeque::new(),
        classes: VecDeque::new(),
        counts: vec![0; CLASSES],
        headroom: UNTAUGHT_HEADROOM,
        renewed_in: RENEWED_EVERY,
    })
}

struct HeadroomConformal {
    period_seconds: f64,
    quantile: f64,
    startup_steps: usize,
    kept_steps: usize,
    meter: Meter,
    hold: SlidingMax,
    /// Largest demand of the last start-up time.
    ahead: SlidingMax,
    /// Mean demand of the decisions since.
    loads: VecDeque<f64>,
    /// Class of each ratio of the last day, and how often each occurs.
    classes: VecDeque<usize>,
    counts: Vec<u32>,
    headroom: f64,
    /// Decisions until the headroom is renewed.
    renewed_in: usize,
}

impl HeadroomConformal {
    /// Files what the headroom of a start-up time ago should have been.
    fn learn(&mut self, largest_since: f64) {
        if self.loads.len() <= self.startup_steps {
            return;
        }
        let Some(load) = self.loads.pop_front() else { return };
        let ratio = (largest_since / load.max(LEAST_LOAD)).max(1.0);
        let class = ((ratio.ln() / CLASS_WIDTH) as usize).min(CLASSES - 1);
        self.classes.push_back(class);
        self.counts[class] += 1;
        if self.classes.len() > self.kept_steps
            && let Some(oldest) = self.classes.pop_front()
        {
            self.counts[oldest] -= 1;
        }
    }

    fn renew(&mut self) {
        self.renewed_in -= 1;
        if self.renewed_in > 0 {
            return;
        }
        self.renewed_in = RENEWED_EVERY;
        let wanted = self.quantile * self.classes.len() as f64;
        let mut seen = 0.0;
        let class = self.counts.iter().position(|count| {
            seen += f64::from(*count);
            seen >= wanted && seen > 0.0
        });
        self.headroom = class.map_or(UNTAUGHT_HEADROOM, |class| ((class as f64 + 0.5) * CLASS_WIDTH).exp());
    }
}

impl Policy for HeadroomConformal {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let load = self.meter.read(signals);
        let largest = self.ahead.push(signals.now_seconds, load.now);
        self.loads.push_back(load.mean);
        self.learn(largest);
        self.renew();
        let wanted = f64::from(whole(self.headroom * load.mean));
        self.hold.push(signals.now_seconds, wanted) as u32
    }
}
