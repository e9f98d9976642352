//! Static: a fixed number of replicas, a share of what the trace needs at its peak.
//!
//! What runs without an autoscaler. It is told the peak, so it is clairvoyant in the one number it has.

use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task, optimum};

pub(super) const KNOBS: &[Knob] = &[Knob {
    name: "share of the peak",
    unit: "",
    shipped: 1.0,
    tried: &[
        0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0,
    ],
}];

pub(super) fn build(_task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let peak = optimum::need(&demand.replicas, 1.0).into_iter().max().unwrap_or(0);
    Box::new(Static { replicas: (f64::from(peak) * knobs[0]).ceil() as u32 })
}

struct Static {
    replicas: u32,
}

impl Policy for Static {
    fn period_seconds(&self) -> f64 {
        60.0
    }

    fn decide(&mut self, _signals: &Signals<'_>) -> u32 {
        self.replicas
    }
}
