//! Token-aware KEDA trigger of llm-d (after TokenScale): prefill tokens in flight and cache in use.
//!
//! `max(ceil(prefill tokens in flight / (V · 1.5 s)), ceil(sum of KV usage / 0.8))`, `V` being the tokens that a replica
//! prefills in a second: a batch over the time to first token of an engine that is otherwise full. In flight are the
//! prompts that wait and, by Little's law, those being computed.

use super::hpa::{Hpa, SYNC_SECONDS};
use super::hpa_queue::behavior;
use super::knob::Knob;
use super::meter::Counter;
use crate::{Demand, Policy, Signals, Task};

const RATE_SECONDS: f64 = 60.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "prefill budget", unit: " s", shipped: 1.5, tried: &[0.05, 0.1, 0.2, 0.5, 1.0, 1.5] },
    Knob { name: "KV target", unit: "", shipped: 0.8, tried: &[0.1, 0.15, 0.2, 0.3, 0.5, 0.8] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let batch = f64::from(task.limits.max_batched_tokens);
    Box::new(TokenAware {
        budget_seconds: knobs[0],
        kv_target: knobs[1],
        prefill_tokens_per_second: batch / task.capacity.ttft_seconds.max(1e-3),
        prompts: Counter::new(RATE_SECONDS),
        hpa: Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(300.0))),
    })
}

struct TokenAware {
    budget_seconds: f64,
    kv_target: f64,
    prefill_tokens_per_second: f64,
    prompts: Counter,
    hpa: Hpa,
}

impl Policy for TokenAware {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let recommended = signals.is_fresh.then(|| {
            let (tokens, seconds) = self.prompts.increase(signals.now_seconds, signals.arrived_prompt_tokens_total);
            let rate = if seconds > 0.0 { tokens / seconds } else { 0.0 };
            let in_prefill = rate * signals.ttft_mean_seconds.min(seconds);
            let in_flight = signals.waiting_prompt_tokens.max(in_prefill);
            let prefill = (in_flight / (self.prefill_tokens_per_second * self.budget_seconds)).ceil();
            let decode = (signals.kv_cache_usage * f64::from(signals.ready) / self.kv_target).ceil();
            prefill.max(decode) as u32
        });
        self.hpa.settle(signals.now_seconds, signals.replicas, recommended)
    }
}
