//! llm-d's workload-variant-autoscaler, saturation law V1: one replica up or down by what engines have to spare.
//!
//! A replica is saturated at 80 % of its KV cache or 5 waiting requests; up by one when the others have less than 10 %
//! or 3 requests to spare on average, down by one when the load of one fewer would still leave that. Highest values of
//! the last minute; nothing while a replica starts.

use super::knob::Knob;
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

const QUEUE_LIMIT: f64 = 5.0;
const LEAST_SPARE_QUEUE: f64 = 3.0;
const LEAST_SPARE_KV: f64 = 0.1;
const LOOK_BACK_SECONDS: f64 = 60.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "KV limit", unit: "", shipped: 0.8, tried: &[0.13, 0.15, 0.18, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8] },
    Knob { name: "period", unit: " s", shipped: 60.0, tried: &[10.0, 15.0, 30.0, 60.0] },
];

pub(super) fn build(_task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(WvaV1 {
        kv_limit: knobs[0],
        period_seconds: knobs[1],
        kv: SlidingMax::new(LOOK_BACK_SECONDS),
        queue: SlidingMax::new(LOOK_BACK_SECONDS),
    })
}

struct WvaV1 {
    kv_limit: f64,
    period_seconds: f64,
    kv: SlidingMax,
    queue: SlidingMax,
}

impl Policy for WvaV1 {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let ready = f64::from(signals.ready.max(1));
        let kv = self.kv.push(signals.now_seconds, signals.kv_cache_usage);
        let queue = self.queue.push(signals.now_seconds, signals.waiting / ready);
        let is_moving = signals.ready < signals.replicas;
        if !signals.is_fresh || is_moving {
            return signals.replicas;
        }
        // Load is even over the replicas: all of them are saturated or none.
        let spares = |kv: f64, queue: f64| (self.kv_limit - kv, QUEUE_LIMIT - queue);
        let suffices = |(kv, queue): (f64, f64)| kv >= LEAST_SPARE_KV && queue >= LEAST_SPARE_QUEUE;
        if !suffices(spares(kv, queue)) {
            return signals.replicas + 1;
        }
        let fewer = ready / (ready - 1.0);
        if signals.replicas >= 2 && suffices(spares(kv * fewer, queue * fewer)) {
            return signals.replicas - 1;
        }
        signals.replicas
    }
}
