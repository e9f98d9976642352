//! HPA on the queue: waiting and running requests of the fleet, `AverageValue`.
//!
//! The metric with which an HPA scales LLM engines best, absolute and so independent of unready pods. Kubernetes ships
//! no target; the first setting aims at 80 % of what a replica carries.

use super::hpa::{Behavior, Direction, Hpa, SYNC_SECONDS, Tolerance, external_average, milli};
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "target", unit: " of capacity", shipped: 0.8, tried: &[0.15, 0.25, 0.35, 0.5, 0.6, 0.7, 0.8, 1.0] },
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
    pub(super) fn new(task: &Task, share_of_capacity: f64, down_window_seconds: f64) -> Self {
        let target = share_of_capacity * f64::from(task.capacity.concurrency.max(1));
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
