//! What one replica can carry while it keeps a latency objective.

use serde::{Deserialize, Serialize};

use crate::{ModelError, StepTime};

/// The mean request of a model's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// Mean prompt length in tokens (I). Above 0.
    pub prompt_tokens: f64,
    /// Mean answer length in tokens (O). Above 0.
    pub output_tokens: f64,
    /// Share of the prompt found in the prefix cache, 0 to 1: it saves computing, not KV space.
    #[serde(default)]
    pub cached_share: f64,
}

impl Workload {
    /// Checks that every number is within its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let positive = |field, value: f64| {
            ModelError::check(value.is_finite() && value > 0.0, field, value, "a number of tokens above 0")
        };
        positive("promptTokens", self.prompt_tokens)?;
        positive("outputTokens", self.output_tokens)?;
        let share = self.cached_share;
        ModelError::check((0.0..=1.0).contains(&share), "cachedShare", share, "a share from 0 to 1")
    }

    /// Prompt tokens that must be computed.
    #[must_use]
    pub fn uncached_prompt_tokens(&self) -> f64 {
        self.prompt_tokens * (1.0 - self.cached_share)
    }

    /// Tokens that one request makes the engine compute.
    #[must_use]
    pub fn computed_tokens(&self) -> f64 {
        self.uncached_prompt_tokens() + self.output_tokens
    }

    /// Steps that one request spends in the engine, when its prompt takes one.
    #[must_use]
    pub fn steps(&self) -> f64 {
        self.output_tokens + 1.0
    }

    /// Tokens that one request holds in the KV cache, in the mean over its life.
    #[must_use]
    pub fn mean_context_tokens(&self) -> f64 {
        self.prompt_tokens + self.output_tokens / 2.0
    }

    /// Tokens that one request holds in the KV cache just before it ends.
    #[must_use]
    pub fn peak_context_tokens(&self) -> f64 {
        self.prompt_tokens + self.output_tokens
    }
}

/// What the engine's configuration and memory allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Sequences in one step at most (vLLM's `--max-num-seqs`). At least 1.
    pub max_sequences: u32,
    /// Tokens in one step at most (vLLM's `--max-num-batched-tokens`). At least 1.
    pub max_batched_tokens: u32,
    /// Tokens that the KV cache holds.
    pub kv_tokens: u64,
    /// Share of the KV cache to plan for, above 0 up to 1: beyond 0.8–0.85 requests are preempted.
    pub usable_kv_share: f64,
}

/// The latency to keep, in engine time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Objective {
    /// Time to first token in seconds.
    pub ttft_seconds: f64,
    /// Time between two tokens in seconds.
    pub inter_token_seconds: f64,
}

/// Which bound ends the growth of a replica's concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// The step would outlast the objective between tokens.
    InterToken,
    /// A new request's first token would come too late.
    Ttft,
    /// The KV cache is full.
    KvCache,
    /// The engine takes no more sequences.
    Sequences,
}

/// The load that a replica carries within its objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Largest steady number of requests in the engine; 0 when not even one meets the objective.
    pub concurrency: u32,
    /// Requests a second at that concurrency.
    pub requests_per_second: f64,
    /// Seconds between two tokens at that concurrency.
    pub inter_token_seconds: f64,
    /// Seconds to the first token at that concurrency, without waiting in a queue.
    pub ttft_seconds: f64,
    /// What forbids one more.
    pub limit: Limit,
}

/// Seconds to the first token of a request that meets `concurrency - 1` others and no queue: the rest of the step in
/// progress (all of it, to be safe) and the steps of its own prefill.
#[must_use]
pub fn ttft_seconds(step: &StepTime, concurrency: f64, workload: &Workload, limits: &Limits) -> f64 {
    let others = (concurrency - 1.0).max(0.0);
    let chunk = (f64::from(limits.max_batched_tokens) - others).max(1.0);
    let in_progress = if others > 0.0 { step.steady_step_seconds(others, workload) } else { 0.0 };
    in_progress + step.prefill_seconds(workload.uncached_prompt_tokens(), chunk, others, workload)
}

/// The largest concurrency, and the rate that goes with it, at which a replica keeps `objective`.
///
/// Each bound grows with the concurrency, so the largest that meets all is found by bisection. KV: requests hold
/// `I + O/2` tokens in the mean, of which `usable_kv_share` of the cache may be planned; one alone must fit whole.
#[must_use]
pub fn capacity(step: &StepTime, workload: &Workload, limits: &Limits, objective: &Objective) -> Capacity {
    let exceeded = |n: u32| -> Option<Limit> {
        let concurrency = f64::from(n);
        if n > limits.max_sequences {
            Some(Limit::Sequences)
        } else if !fits_kv(concurrency, workload, limits) {
            Some(Limit::KvCache)
        } else if step.steady_step_seconds(concurrency, workload) > objective.inter_token_seconds {
            Some(Limit::InterToken)
        } else if ttft_seconds(step, concurrency, workload, limits) > objective.ttft_seconds {
            Some(Limit::Ttft)
        } else {
            None
        }
    };
    let (mut meets, mut fails) = (0, limits.max_sequences.saturating_add(1));
    while fails - meets > 1 {
        let middle = meets + (fails - meets) / 2;
        if exceeded(middle).is_none() { meets = middle } else { fails = middle }
    }
    let concurrency = f64::from(meets);
    let inter_token_seconds = step.steady_step_seconds(concurrency, workload);
    let ttft = ttft_seconds(step, concurrency, workload, limits);
    Capacity {
        concurrency: meets,
        requests_per_second: concurrency / (workload.steps() * inter_token_seconds),
        inter_token_seconds,
        ttft_seconds: ttft,
        limit: exceeded(fails).unwrap_or(Limit::Sequences),
    }
}

fn fits_kv(concurrency: f64, workload: &Workload, limits: &Limits) -> bool {
    // Exact for any cache that fits a machine: below 2^53 tokens.
    let kv_tokens = limits.kv_tokens as f64;
    workload.peak_context_tokens() <= kv_tokens
        && concurrency * workload.mean_context_tokens() <= kv_tokens * limits.usable_kv_share
}
