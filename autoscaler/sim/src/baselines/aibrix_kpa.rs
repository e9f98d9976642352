//! AIBrix's KPA on KV cache usage, as shipped and corrected.
//!
//! Knative's law with windows of 180 s and 60 s, panic from twice the target on, at most doubled or halved, sync 10 s,
//! cool-down of 300 s downwards. As shipped the metric is averaged over the pods and not multiplied by their number:
//! `ceil(mean / target)` of a share such as cache usage collapses towards one replica. Corrected, it is the sum.

use super::knob::Knob;
use crate::window::{SlidingMax, SlidingMean};
use crate::{Demand, Policy, Signals, Task};

const SYNC_SECONDS: f64 = 10.0;
const STABLE_SECONDS: f64 = 180.0;
const PANIC_SECONDS: f64 = 60.0;
const PANIC_THRESHOLD: f64 = 2.0;
const MOST_UP: f64 = 2.0;
const MOST_DOWN: f64 = 2.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "target", unit: " of the cache", shipped: 0.5, tried: &[0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5] },
    Knob { name: "down cool-down", unit: " s", shipped: 300.0, tried: &[60.0, 180.0, 300.0, 600.0, 1200.0, 3600.0] },
];

/// As shipped.
pub(super) fn as_shipped(_task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Kpa { is_sum: false, ..Kpa::new(knobs) })
}

/// Multiplied by the number of pods.
pub(super) fn corrected(_task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(Kpa::new(knobs))
}

struct Kpa {
    target: f64,
    is_sum: bool,
    stable: SlidingMean,
    panic: SlidingMean,
    hold: SlidingMax,
    panic_since: Option<f64>,
}

impl Kpa {
    fn new(knobs: &[f64]) -> Self {
        Self {
            target: knobs[0],
            is_sum: true,
            stable: SlidingMean::new(STABLE_SECONDS),
            panic: SlidingMean::new(PANIC_SECONDS),
            hold: SlidingMax::new(knobs[1]),
            panic_since: None,
        }
    }
}

impl Policy for Kpa {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh || signals.ready == 0 {
            return signals.replicas;
        }
        let now = signals.now_seconds;
        let ready = f64::from(signals.ready);
        let usage = signals.kv_cache_usage * if self.is_sum { ready } else { 1.0 };
        let (least, most) = ((ready / MOST_DOWN).floor(), (MOST_UP * ready).ceil());
        let stable = (self.stable.push(now, usage) / self.target).ceil();
        let panic = (self.panic.push(now, usage) / self.target).ceil();
        if panic / ready >= PANIC_THRESHOLD {
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| since + STABLE_SECONDS <= now) {
            self.panic_since = None;
        }
        let wanted = if self.panic_since.is_some() { stable.max(panic).max(ready) } else { stable };
        self.hold.push(now, wanted.clamp(least, most)) as u32
    }
}
