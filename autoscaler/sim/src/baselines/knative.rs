//! Knative's pod autoscaler (serving, KPA) on concurrency, held requests included.
//!
//! Tick 2 s, stable window 60 s, panic window 6 s, target 70 % of the container concurrency, panic from twice the
//! capacity on, left after a stable window below; in panic only upwards; at most halved, at most a thousand-fold.

use super::knob::Knob;
use crate::window::{SlidingMax, SlidingMean};
use crate::{Demand, Policy, Signals, Task};

const TICK_SECONDS: f64 = 2.0;
const PANIC_SHARE: f64 = 0.1;
const PANIC_THRESHOLD: f64 = 2.0;
const MOST_UP: f64 = 1000.0;
const MOST_DOWN: f64 = 2.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "target", unit: " of a replica's rate", shipped: 0.7, tried: &[0.2, 0.35, 0.5, 0.7, 0.85, 1.0] },
    Knob { name: "stable window", unit: " s", shipped: 60.0, tried: &[60.0, 300.0] },
    Knob { name: "down delay", unit: " s", shipped: 0.0, tried: &[0.0, 300.0, 900.0, 3600.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Knative {
        target: task.in_service_at(knobs[0]),
        stable_seconds: knobs[1],
        stable: SlidingMean::new(knobs[1]),
        panic: SlidingMean::new(knobs[1] * PANIC_SHARE),
        delay: SlidingMax::new(knobs[2]),
        panic_since: None,
        most_in_panic: 0.0,
    })
}

struct Knative {
    target: f64,
    stable_seconds: f64,
    stable: SlidingMean,
    panic: SlidingMean,
    delay: SlidingMax,
    /// When the panic threshold was last passed.
    panic_since: Option<f64>,
    most_in_panic: f64,
}

impl Policy for Knative {
    fn period_seconds(&self) -> f64 {
        TICK_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let now = signals.now_seconds;
        let concurrency = signals.running + signals.waiting;
        let ready = f64::from(signals.ready.max(1));
        let (least, most) = ((ready / MOST_DOWN).floor(), (MOST_UP * ready).ceil());
        let wanted = |concurrency: f64| (concurrency / self.target).ceil();
        let stable = wanted(self.stable.push(now, concurrency)).clamp(least, most);
        let panic = wanted(self.panic.push(now, concurrency));
        let is_over = panic / ready >= PANIC_THRESHOLD;
        let panic = panic.clamp(least, most);
        if is_over {
            if self.panic_since.is_none() {
                self.most_in_panic = 0.0;
            }
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| since + self.stable_seconds <= now) {
            self.panic_since = None;
        }
        let wanted = if self.panic_since.is_some() {
            self.most_in_panic = self.most_in_panic.max(panic).max(stable).max(ready);
            self.most_in_panic
        } else {
            stable
        };
        self.delay.push(now, wanted) as u32
    }
}
