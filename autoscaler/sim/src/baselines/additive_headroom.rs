//! Additive headroom: demand and a fixed number of replicas to spare, held at its maximum.
//!
//! What operators configure as over-provisioning ("keep two warm"). It ships nowhere; the first setting keeps two.

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "spare", unit: "", shipped: 2.0, tried: &[0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0] },
    Knob { name: "hold", unit: " s", shipped: 300.0, tried: &[0.0, 120.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(AdditiveHeadroom {
        period_seconds: usual_period(demand),
        spare: knobs[0],
        meter: Meter::new(task),
        hold: SlidingMax::new(knobs[1]),
    })
}

struct AdditiveHeadroom {
    period_seconds: f64,
    spare: f64,
    meter: Meter,
    hold: SlidingMax,
}

impl Policy for AdditiveHeadroom {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let load = self.meter.read(signals);
        let wanted = f64::from(whole(load.mean)) + self.spare;
        self.hold.push(signals.now_seconds, wanted) as u32
    }
}
