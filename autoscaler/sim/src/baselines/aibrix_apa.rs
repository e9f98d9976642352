//! AIBrix's APA: the fleet in proportion to how far a mean per pod is from its target.
//!
//! Sync 10 s; `ratio = mean / target` of running and waiting requests per Ready pod; above 1.1 up to
//! `min(ceil(N · ratio), 2 N)`, below 0.9 down to `max(ceil(N · ratio), floor(N / 2))`; the highest of the last 300 s
//! holds against scaling down. `N` counts pods that still start while the mean is over the Ready ones, so each round of
//! a start-up multiplies again (their issues 2670 and 2671): reproduced.

use super::knob::Knob;
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

const SYNC_SECONDS: f64 = 10.0;
const TOLERANCE: f64 = 0.1;
const MOST_UP: f64 = 2.0;
const MOST_DOWN: f64 = 2.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "target",
        unit: " of a replica's rate",
        shipped: 0.7,
        tried: &[0.15, 0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.0],
    },
    Knob { name: "down cool-down", unit: " s", shipped: 300.0, tried: &[60.0, 180.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let target = task.in_service_at(knobs[0]);
    Box::new(Apa { target, most_replicas: f64::from(task.max_replicas), hold: SlidingMax::new(knobs[1]) })
}

struct Apa {
    target: f64,
    most_replicas: f64,
    hold: SlidingMax,
}

impl Policy for Apa {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh || signals.ready == 0 {
            return signals.replicas;
        }
        let replicas = f64::from(signals.replicas);
        let mean = (signals.running + signals.waiting) / f64::from(signals.ready);
        let ratio = mean / self.target;
        let wanted = if ratio > 1.0 + TOLERANCE {
            (replicas * ratio).ceil().min((MOST_UP * replicas).ceil())
        } else if ratio < 1.0 - TOLERANCE {
            (replicas * ratio).ceil().max((replicas / MOST_DOWN).floor())
        } else {
            replicas
        };
        self.hold.push(signals.now_seconds, wanted.min(self.most_replicas)) as u32
    }
}
