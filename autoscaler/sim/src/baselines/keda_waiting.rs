//! KEDA on waiting requests, as production-stack ships it, and with the query summed.
//!
//! Trigger `vllm:num_requests_waiting`, threshold 5, polled every 15 s, fallback of 2 replicas after 3 failures. The
//! shipped query is not aggregated: from the second pod on it returns several series, which KEDA's Prometheus scaler
//! refuses, so the fallback decides. Summed, the metric is 0 until the fleet is saturated and 0 again once it has
//! drained. Lost metrics are an empty answer, which KEDA takes for 0 (`ignoreNullValues`).

use super::hpa::{Hpa, SYNC_SECONDS, Tolerance, external_average, milli};
use super::hpa_queue::behavior;
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

const FALLBACK_REPLICAS: u32 = 2;
const FALLBACK_AFTER: u32 = 3;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "threshold", unit: "", shipped: 5.0, tried: &[0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0] },
    Knob { name: "down window", unit: " s", shipped: 300.0, tried: &[60.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0] },
];

/// As shipped.
pub(super) fn as_shipped(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(KedaWaiting { is_summed: false, ..KedaWaiting::new(task, knobs) })
}

/// With the query summed.
pub(super) fn summed(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(KedaWaiting::new(task, knobs))
}

struct KedaWaiting {
    hpa: Hpa,
    threshold: i64,
    is_summed: bool,
    failures: u32,
}

impl KedaWaiting {
    fn new(task: &Task, knobs: &[f64]) -> Self {
        let hpa = Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(knobs[1])));
        Self { hpa, threshold: milli(knobs[0]), is_summed: true, failures: 0 }
    }

    /// The metric as KEDA hands it to the HPA; `None` is an error.
    fn metric(&mut self, signals: &Signals<'_>) -> Option<i64> {
        let series = if signals.is_fresh { signals.ready } else { 0 };
        if series > 1 && !self.is_summed {
            self.failures += 1;
            return (self.failures > FALLBACK_AFTER).then(|| self.threshold * i64::from(FALLBACK_REPLICAS));
        }
        self.failures = 0;
        Some(if series == 0 { 0 } else { milli(signals.waiting) })
    }
}

impl Policy for KedaWaiting {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let metric = self.metric(signals);
        let recommended =
            metric.map(|usage| external_average(usage, self.threshold, signals.replicas, Tolerance::default()));
        self.hpa.settle(signals.now_seconds, signals.replicas, recommended)
    }
}
