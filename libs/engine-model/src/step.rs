//! The duration of one engine step.

use serde::{Deserialize, Serialize};

use crate::Workload;

/// Why parameters of the model were refused: which field, and what it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} = {value}: must be {expected}")]
pub struct ModelError {
    /// Name of the field as it is written in configuration.
    pub field: &'static str,
    /// The value that was given.
    pub value: f64,
    /// What would be accepted.
    pub expected: &'static str,
}

impl ModelError {
    pub(crate) fn check(ok: bool, field: &'static str, value: f64, expected: &'static str) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self { field, value, expected }) }
    }
}

/// What one step of continuous batching works on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Batch {
    /// Sequences in the step (decoding or prefilling).
    pub sequences: f64,
    /// Tokens computed in the step: one for each decoding sequence, a chunk of the prompt for each prefilling one.
    pub tokens: f64,
    /// Tokens of those sequences that lie in the KV cache and are attended to, summed over the sequences.
    pub context_tokens: f64,
}

impl Batch {
    /// What a step works on in the mean, at a steady concurrency of `concurrency` requests of `workload`.
    #[must_use]
    pub fn steady(concurrency: f64, workload: &Workload) -> Self {
        Self {
            sequences: concurrency,
            tokens: concurrency * workload.computed_tokens() / workload.steps(),
            context_tokens: concurrency * workload.mean_context_tokens(),
        }
    }
}

/// Time of one step: `fixed + per_token · tokens + per_context_token · context + per_root_sequence · √sequences`.
///
/// Over requests of `I` prompt and `O` answer tokens at a steady concurrency `n` this is
/// `T(n) = α + n(β(I+O)/(O+1) + γ(I+O/2)) + c√n`: a request spends `O + 1` steps, in which it computes `I + O` tokens
/// and holds `I + O/2` of them in the mean.
///
/// Validity: fitted to aggregated serving (prefill and decode in one engine) of dense models within 1–4 % and of
/// mixture-of-experts models (`c > 0`) within 1–5 %, below KV saturation. A prefill's own attention is inside `beta`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StepTime {
    /// α: seconds a step takes however little is in it (weights read, kernels launched). Above 0.
    pub fixed_seconds: f64,
    /// β: seconds for each token computed. At least 0.
    #[serde(default)]
    pub per_token_seconds: f64,
    /// γ: seconds for each token attended to in the KV cache. At least 0.
    #[serde(default)]
    pub per_context_token_seconds: f64,
    /// c: seconds for the square root of the number of sequences; experts woken by a growing batch. 0 for dense models.
    #[serde(default)]
    pub per_root_sequence_seconds: f64,
}

impl StepTime {
    /// Parameters in milliseconds, as tables print them: α, β, γ, c.
    #[must_use]
    pub const fn from_milliseconds(alpha: f64, beta: f64, gamma: f64, c: f64) -> Self {
        Self {
            fixed_seconds: alpha / 1e3,
            per_token_seconds: beta / 1e3,
            per_context_token_seconds: gamma / 1e3,
            per_root_sequence_seconds: c / 1e3,
        }
    }

    /// Checks that every parameter is within its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let at_least_zero = |field, value: f64| {
            ModelError::check(value.is_finite() && value >= 0.0, field, value, "a number of seconds, at least 0")
        };
        ModelError::check(
            self.fixed_seconds.is_finite() && self.fixed_seconds > 0.0,
            "fixedSeconds",
            self.fixed_seconds,
            "a number of seconds above 0",
        )?;
        at_least_zero("perTokenSeconds", self.per_token_seconds)?;
        at_least_zero("perContextTokenSeconds", self.per_context_token_seconds)?;
        at_least_zero("perRootSequenceSeconds", self.per_root_sequence_seconds)
    }

    /// Seconds that one step over `batch` takes.
    #[inline]
    #[must_use]
    pub fn step_seconds(&self, batch: Batch) -> f64 {
        self.fixed_seconds
            + self.per_token_seconds * batch.tokens
            + self.per_context_token_seconds * batch.context_tokens
            + self.per_root_sequence_seconds * batch.sequences.sqrt()
    }

    /// `T(n)`: mean seconds of a step, and so between two tokens of a request, at a steady concurrency of
    /// `concurrency` requests of `workload`.
    #[must_use]
    pub fn steady_step_seconds(&self, concurrency: f64, workload: &Workload) -> f64 {
        self.step_seconds(Batch::steady(concurrency, workload))
    }

    /// Seconds until a prompt of `prompt_tokens` (those not found in the prefix cache) is computed, in chunks of at
    /// most `chunk_tokens`, when `others` decoding requests of `workload` share its steps.
    #[must_use]
    pub fn prefill_seconds(&self, prompt_tokens: f64, chunk_tokens: f64, others: f64, workload: &Workload) -> f64 {
        let chunk = chunk_tokens.max(1.0);
        let steps = (prompt_tokens / chunk).ceil().max(1.0);
        // Attended in all steps together: chunk, 2 · chunk, … up to the whole prompt.
        let own_context = prompt_tokens * (steps + 1.0) / 2.0;
        let shared =
            Batch { sequences: others + 1.0, tokens: others, context_tokens: others * workload.mean_context_tokens() };
        steps * self.step_seconds(shared)
            + self.per_token_seconds * prompt_tokens
            + self.per_context_token_seconds * own_context
    }
}
