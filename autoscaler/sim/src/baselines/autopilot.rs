//! Google Autopilot, horizontal (EuroSys 2020): a quantile of the load of the last days over a target utilisation.
//!
//! Load by five minutes, quantile over 72 h; downwards slowly. Recommending from past peaks is the transferable idea.
//! The paper's details were not all published: deadband and growth limits are left out.

use std::collections::VecDeque;

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::{Demand, Policy, Signals, Task};

const SAMPLE_SECONDS: f64 = 300.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "quantile", unit: "", shipped: 0.95, tried: &[0.9, 0.95, 0.98, 1.0] },
    Knob { name: "horizon", unit: " h", shipped: 72.0, tried: &[3.0, 24.0, 72.0] },
    Knob { name: "utilisation", unit: "", shipped: 0.8, tried: &[0.5, 0.65, 0.8, 1.0] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Autopilot {
        period_seconds: usual_period(demand),
        quantile: knobs[0],
        kept: (knobs[1] * 3600.0 / SAMPLE_SECONDS) as usize,
        utilisation: knobs[2],
        meter: Meter::new(task),
        samples: VecDeque::new(),
        sorted: Vec::new(),
        sample: 0.0,
        sample_ends: SAMPLE_SECONDS,
        recommended: 0.0,
    })
}

struct Autopilot {
    period_seconds: f64,
    quantile: f64,
    kept: usize,
    utilisation: f64,
    meter: Meter,
    /// Largest mean load of each five minutes.
    samples: VecDeque<f64>,
    /// Room to find the quantile in.
    sorted: Vec<f64>,
    sample: f64,
    sample_ends: f64,
    recommended: f64,
}

impl Autopilot {
    fn recommend(&mut self) {
        self.samples.push_back(self.sample);
        if self.samples.len() > self.kept {
            self.samples.pop_front();
        }
        self.sorted.clear();
        self.sorted.extend(&self.samples);
        let at = (self.quantile * (self.sorted.len() - 1) as f64).ceil() as usize;
        let (_, quantile, _) = self.sorted.select_nth_unstable_by(at, f64::total_cmp);
        self.recommended = *quantile / self.utilisation;
    }
}

impl Policy for Autopilot {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let load = self.meter.read(signals).mean;
        self.sample = self.sample.max(load);
        if signals.now_seconds >= self.sample_ends {
            self.recommend();
            self.sample = 0.0;
            self.sample_ends = signals.now_seconds + SAMPLE_SECONDS;
        }
        // Before the first sample, and above all samples, the load itself.
        whole(self.recommended.max(load / self.utilisation))
    }
}
