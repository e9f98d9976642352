//! HPA on KV cache usage: a Pods metric (`vllm:kv_cache_usage_perc`).
//!
//! The first setting is the 60 % of llm-d's KEDA script (pull request 1517 of its autoscaler). Where the objective
//! binds before memory does, usage never gets there.

use super::hpa::{Hpa, milli};
use super::hpa_queue::behavior;
use super::hpa_running::HpaPods;
use super::knob::Knob;
use crate::{Demand, Policy, Task};

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "target", unit: " of the cache", shipped: 0.6, tried: &[0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6] },
    Knob { name: "down window", unit: " s", shipped: 300.0, tried: &[60.0, 180.0, 300.0, 600.0, 1200.0, 3600.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let hpa = Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(knobs[1])));
    let total = |signals: &crate::Signals<'_>| signals.kv_cache_usage * f64::from(signals.ready);
    Box::new(HpaPods { hpa, target: milli(knobs[0]), total })
}
