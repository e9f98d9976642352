//! llm-d's workload-variant-autoscaler, token law V2: tokens in use and queued against tokens a replica holds.
//!
//! `demand = tokens in use + waiting · I`; a replica holds `min(0.8 · KV tokens, k2)`, `k2` being what was in use while
//! at least 5 requests waited (mean of the last 10 sightings), before the first the `n · (I + O/2)` of
//! `n = min(B · O / (I + O), S)`. Up by `ceil` of `demand / 0.85 - supply` (starting replicas counted), down by `floor`
//! of `supply - demand / 0.70`.

use std::collections::VecDeque;

use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

const USABLE_KV: f64 = 0.8;
const SATURATED_QUEUE: f64 = 5.0;
const SIGHTINGS: usize = 10;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "up threshold", unit: "", shipped: 0.85, tried: &[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 0.95] },
    Knob { name: "down threshold", unit: " of up", shipped: 0.7 / 0.85, tried: &[0.4, 0.6, 0.7 / 0.85] },
    Knob { name: "period", unit: " s", shipped: 30.0, tried: &[15.0, 30.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let (workload, limits) = (task.workload, task.limits);
    let batch = f64::from(limits.max_batched_tokens) * workload.output_tokens
        / (workload.prompt_tokens + workload.output_tokens);
    let sequences = batch.min(f64::from(limits.max_sequences));
    Box::new(WvaV2 {
        up: knobs[0],
        down: knobs[0] * knobs[1],
        period_seconds: knobs[2],
        kv_tokens: limits.kv_tokens as f64,
        prompt_tokens: workload.prompt_tokens,
        prior: sequences * workload.mean_context_tokens(),
        sightings: VecDeque::new(),
    })
}

struct WvaV2 {
    up: f64,
    down: f64,
    period_seconds: f64,
    kv_tokens: f64,
    prompt_tokens: f64,
    prior: f64,
    /// Tokens in use in a replica when it was saturated.
    sightings: VecDeque<f64>,
}

impl WvaV2 {
    fn tokens_per_replica(&self) -> f64 {
        let seen = self.sightings.iter().sum::<f64>() / self.sightings.len() as f64;
        let learned = if self.sightings.is_empty() { self.prior } else { seen };
        learned.min(USABLE_KV * self.kv_tokens).max(1.0)
    }
}

impl Policy for WvaV2 {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let ready = f64::from(signals.ready);
        let in_use = signals.kv_cache_usage * self.kv_tokens;
        if signals.ready > 0 && signals.waiting / ready >= SATURATED_QUEUE {
            self.sightings.push_back(in_use);
            if self.sightings.len() > SIGHTINGS {
                self.sightings.pop_front();
            }
        }
        let demand = in_use * ready + signals.waiting * self.prompt_tokens;
        let per_replica = self.tokens_per_replica();
        let supply = f64::from(signals.replicas) * per_replica;
        let required = demand / self.up - supply;
        let spare = supply - demand / self.down;
        if required > 0.0 {
            signals.replicas.saturating_add((required / per_replica).ceil() as u32)
        } else if spare > 0.0 {
            signals.replicas.saturating_sub((spare / per_replica).floor() as u32).max(1)
        } else {
            signals.replicas
        }
    }
}
