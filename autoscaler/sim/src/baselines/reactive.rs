//! Reactive: demand with headroom, held at its maximum.
//!
//! `max over hold of ceil(headroom · mean demand of 30 s)`: the law behind every queue- or concurrency-driven scaler
//! once its targets are tuned. It ships nowhere, so the first setting is a middling one.

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "headroom", unit: "", shipped: 1.3, tried: &[1.0, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 5.0] },
    Knob { name: "hold", unit: " s", shipped: 600.0, tried: &[0.0, 120.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Reactive::new(task, demand, knobs[0], knobs[1]))
}

pub(super) struct Reactive {
    period_seconds: f64,
    headroom: f64,
    meter: Meter,
    hold: SlidingMax,
}

impl Reactive {
    pub(super) fn new(task: &Task, demand: &Demand, headroom: f64, hold_seconds: f64) -> Self {
        let period_seconds = usual_period(demand);
        Self { period_seconds, headroom, meter: Meter::new(task), hold: SlidingMax::new(hold_seconds) }
    }
}

impl Policy for Reactive {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let load = self.meter.read(signals);
        let wanted = f64::from(whole(self.headroom * load.mean));
        self.hold.push(signals.now_seconds, wanted) as u32
    }
}
