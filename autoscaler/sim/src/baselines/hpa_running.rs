//! HPA on running requests: a Pods metric, averaged over the pods.
//!
//! The tutorial's choice (`vllm:num_requests_running`). It saturates: a full engine shows its limit and no more, so it
//! grows by the ratio of that limit to the target however long the queue is.

use super::hpa::{Hpa, PodItems, SYNC_SECONDS, Tolerance, milli, pods_average};
use super::hpa_queue::behavior;
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

pub(super) const KNOBS: &[Knob] = super::hpa_queue::KNOBS;

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let hpa = Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(knobs[1])));
    let target = milli(task.in_service_at(knobs[0]));
    Box::new(HpaPods { hpa, target, total: |signals| signals.running })
}

/// An HPA on a metric that every Ready pod shows.
pub(super) struct HpaPods {
    pub(super) hpa: Hpa,
    pub(super) target: i64,
    /// Sum of the metric over the Ready pods.
    pub(super) total: fn(&Signals<'_>) -> f64,
}

impl Policy for HpaPods {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let unready = signals.replicas.saturating_sub(signals.ready);
        let items = PodItems { sum: milli((self.total)(signals)), count: signals.ready, missing: 0, unready };
        let recommended = if signals.is_fresh {
            pods_average(items, self.target, signals.replicas, Tolerance::default())
        } else {
            None
        };
        self.hpa.settle(signals.now_seconds, signals.replicas, recommended)
    }
}
