//! What the two engines have in common: the jobs they take, what they report, and their interface.

use super::settings::EngineSettings;
use crate::request::Request;

/// Tokens in a KV block, as vLLM's default; the only size that [`super::leaping`] knows.
pub(super) const BLOCK_TOKENS: u32 = 16;

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Job {
    /// Unique in a run.
    pub(super) id: u64,
    /// At the router, in seconds since the start of the trace.
    pub(super) arrival_seconds: f64,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) prefix_group: u64,
    pub(super) shared_tokens: u32,
    /// Times it came back after an error.
    pub(super) retries: u32,
}

impl Job {
    /// An arrival of the trace. Prompts and answers have at least one token.
    pub(super) fn new(id: u64, arrival_seconds: f64, request: &Request) -> Self {
        Self {
            id,
            arrival_seconds,
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            prefix_group: request.prefix_group,
            shared_tokens: request.shared_tokens,
            retries: 0,
        }
    }

    /// KV blocks of so many tokens that it holds just before its end; its last token is never computed.
    pub(super) fn most_blocks(&self, block_tokens: u32) -> u64 {
        (u64::from(self.prompt_tokens) + u64::from(self.output_tokens) - 1).div_ceil(u64::from(block_tokens))
    }
}

/// A job that an engine has answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finished {
    pub(super) job: Job,
    pub(super) first_token_seconds: f64,
    pub(super) finish_seconds: f64,
}

impl Finished {
    pub(super) fn ttft_seconds(&self) -> f64 {
        self.first_token_seconds - self.job.arrival_seconds
    }

    /// Mean time between tokens; 0 for an answer of one token.
    pub(super) fn inter_token_seconds(&self) -> f64 {
        match self.job.output_tokens {
            0 | 1 => 0.0,
            tokens => (self.finish_seconds - self.first_token_seconds) / f64::from(tokens - 1),
        }
    }
}

/// What a step brought forth; the caller empties it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Time from arrival to the first token of the jobs that got theirs, in seconds.
    pub(super) ttft_seconds: Vec<f64>,
    pub(super) finished: Vec<Finished>,
}

/// What an engine's metrics show.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) running: u32,
    pub(super) waiting: u32,
    pub(super) waiting_prompt_tokens: u64,
    /// Share of the KV blocks in use, 0 to 1.
    pub(super) kv_share: f64,
    /// Counters since the engine was made.
    pub(super) output_tokens: f64,
    /// Times between two tokens of an answer: how many, and their sum in seconds.
    pub(super) gaps: f64,
    pub(super) gaps_seconds: f64,
    pub(super) preemptions: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_prompt_tokens: u64,
}

/// Continuous batching with chunked prefill: waiting jobs in order of arrival, running ones each a token a step, the
/// youngest preempted when KV blocks run out. The rules are those of vLLM's scheduler as the engine emulator has them.
///
/// A job whose [`Job::most_blocks`] exceed [`kv_blocks`] must not be submitted: it could never end.
pub(super) trait Engine {
    /// An idle engine with an empty cache.
    fn new(settings: &EngineSettings, ready_seconds: f64) -> Self;

    /// Takes a job up; the step after the one in progress considers it.
    fn submit(&mut self, now: f64, job: Job);

    /// When something will have happened; infinite when idle.
    fn next_event_seconds(&self) -> f64;

    /// Goes on to [`Self::next_event_seconds`].
    fn advance(&mut self, progress: &mut Progress);

    /// Metrics as of `now`, which is not past the next event.
    fn gauges(&self, now: f64) -> Gauges;
}

/// KV blocks that an engine has.
pub(super) fn kv_blocks(settings: &EngineSettings) -> u64 {
    settings.limits.kv_tokens / u64::from(settings.block_tokens)
}
