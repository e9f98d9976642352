//! Chiron (arXiv 2501.08090), interactive requests: up and down by one on back-pressure.
//!
//! Back-pressure is the share of instances that serve interactive requests; above a threshold one more, otherwise one
//! fewer. The threshold of 0.6 is that of SageServe's re-implementation. Batch requests do not exist here.

use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "threshold", unit: "", shipped: 0.6, tried: &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] },
    Knob { name: "period", unit: " s", shipped: 15.0, tried: &[10.0, 15.0, 30.0, 60.0, 120.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let concurrency = f64::from(task.capacity.concurrency.max(1));
    Box::new(Chiron { threshold: knobs[0], period_seconds: knobs[1], concurrency })
}

struct Chiron {
    threshold: f64,
    period_seconds: f64,
    concurrency: f64,
}

impl Policy for Chiron {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let serving = (signals.running + signals.waiting) / self.concurrency;
        let pressure = serving / f64::from(signals.replicas.max(1));
        if pressure > self.threshold { signals.replicas + 1 } else { signals.replicas.saturating_sub(1).max(1) }
    }
}
