//! HPA on the queue: waiting and running requests of the fleet, `AverageValue`.
//!
//! The metric with which an HPA scales LLM engines best, absolute and so independent of unready pods. Kubernetes ships
//! no target; the first setting is what a replica has in service at 70 % of its rate (Knative's utilisation).
//!
//! It swings: an engine with less to do is faster, so that requests in service grow like `load / (1 - c · load)`. Of a
//! fleet that is a tenth too large, more than a tenth fewer are in service; above some 60 % of a replica's rate the answer
//! overshoots what it answers, and one start-up time later it overshoots back.

use super::hpa::{Behavior, Direction, Hpa, SYNC_SECONDS, Tolerance, external_average, milli};
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "target",
        unit: " of a replica's rate",
        shipped: 0.7,
        tried: &[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95],
    },
    Knob { name: "down window", unit: " s", shipped: 300.0, tried: &[60.0, 180.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(HpaQueue::new(task, knobs[0], knobs[1]))
}

/// `spec.behavior` that Kubernetes fills in, with another window downwards.
pub(super) fn behavior(down_window_seconds: f64) -> Behavior {
    let defaults = Behavior::default();
    Behavior { down: Direction { window_seconds: down_window_seconds, ..defaults.down }, ..defaults }
}

pub(super) struct HpaQueue {
    hpa: Hpa,
    target: i64,
}

impl HpaQueue {
    pub(super) fn new(task: &Task, load: f64, down_window_seconds: f64) -> Self {
        let target = task.in_service_at(load);
        let hpa = Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(down_window_seconds)));
        Self { hpa, target: milli(target) }
    }

    /// What the metric recommends, before stabilisation and limits.
    pub(super) fn recommended(&self, signals: &Signals<'_>) -> Option<u32> {
        let queue = milli(signals.running + signals.waiting);
        signals.is_fresh.then(|| external_average(queue, self.target, signals.replicas, Tolerance::default()))
    }
}

impl Policy for HpaQueue {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let recommended = self.recommended(signals);
        self.hpa.settle(signals.now_seconds, signals.replicas, recommended)
    }
}
