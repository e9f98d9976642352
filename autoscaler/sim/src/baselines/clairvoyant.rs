//! What foresight could do: the need of the coming start-up time, and the optimum at a price of misses.
//!
//! The largest need of `[t, t + L]` is the optimum without misses (see [`crate::optimum`]), so an oracle that sees one
//! start-up time ahead is as good as one that sees everything, until misses are allowed.

use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task, optimum};

pub(super) const ORACLE_KNOBS: &[Knob] = &[Knob {
    name: "share of the need",
    unit: "",
    shipped: 1.0,
    tried: &[0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.05, 1.1],
}];

/// Sees one start-up time ahead.
pub(super) fn oracle(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let need = optimum::need(&demand.replicas, knobs[0]);
    scheduled(demand, optimum::schedule(&need, demand.steps_in(task.startup_seconds)))
}

pub(super) const OPTIMUM_KNOBS: &[Knob] = &[Knob {
    name: "price of a missed replica-step",
    unit: "",
    shipped: f64::INFINITY,
    tried: &[
        1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0, 60.0, 100.0,
    ],
}];

/// Sees everything; misses what is not worth its price.
pub(super) fn optimum(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let startup = demand.steps_in(task.startup_seconds);
    let schedule = if knobs[0].is_finite() {
        optimum::schedule_at_price(&demand.replicas, startup, knobs[0])
    } else {
        optimum::schedule(&optimum::need(&demand.replicas, 1.0), startup)
    };
    scheduled(demand, schedule)
}

fn scheduled(demand: &Demand, replicas: Vec<u32>) -> Box<dyn Policy> {
    Box::new(Scheduled { step_seconds: demand.step_seconds, replicas })
}

struct Scheduled {
    step_seconds: f64,
    replicas: Vec<u32>,
}

impl Policy for Scheduled {
    fn period_seconds(&self) -> f64 {
        self.step_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let step = (signals.now_seconds / self.step_seconds + 1e-6) as usize;
        self.replicas.get(step).copied().unwrap_or(signals.replicas)
    }
}
