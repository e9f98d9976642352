//! The engine's core: continuous batching as a state machine that is advanced with `now`.
//!
//! Requests wait in order of arrival. A step first serves the running sequences (one token each, or the next chunk of
//! a prompt), preempting the youngest when the KV blocks run out, then admits waiting ones while sequences, tokens and
//! blocks allow. Its duration is that of the performance model; at its end every sequence whose tokens are all
//! computed yields one more, and the next step begins. Without work there is no step.
//!
//! It reads no clock and draws no random number: `now` is wall time since the engine started.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use engine_model::StepTime;

use crate::kv::{BlockId, BlockPool};
use crate::stats::{FinishReason, Stats};
use crate::tokens::Chain;

mod step;

/// Identity of a request within the engine.
pub(crate) type RequestId = u64;

/// What the scheduler is told at start.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerConfig {
    pub(crate) max_num_seqs: u32,
    pub(crate) max_num_batched_tokens: u32,
    pub(crate) max_model_len: u32,
    pub(crate) block_size: u32,
    pub(crate) num_blocks: u32,
    pub(crate) prefix_caching: bool,
    /// Requests that may wait; none is no bound, as in vLLM.
    pub(crate) max_num_queued_reqs: Option<u32>,
    pub(crate) step: StepTime,
    /// Modelled durations are divided by this.
    pub(crate) time_scale: f64,
    /// Share of KV blocks whose lives are measured.
    pub(crate) kv_sample: Option<f64>,
}

/// A request as it reaches the scheduler.
#[derive(Debug)]
pub(crate) struct NewRequest {
    /// When the front end saw it.
    pub(crate) arrived: Duration,
    /// The tokenised prompt; at least one token and at most the model's length less one.
    pub(crate) prompt: Chain,
    /// Tokens to generate, at least 1.
    pub(crate) output_tokens: u32,
    /// Most tokens it may generate.
    pub(crate) max_tokens: u32,
    /// How it ends once they are generated.
    pub(crate) finish: FinishReason,
    /// What the answer's text is made from.
    pub(crate) seed: u64,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) id: RequestId,
    /// Tokens generated so far.
    pub(crate) emitted: u32,
    /// Prompt tokens that were found in the prefix cache.
    pub(crate) cached_tokens: u32,
    pub(crate) finished: Option<FinishReason>,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

#[derive(Debug)]
struct Request {
    arrived: Duration,
    queued: Duration,
    scheduled: Option<Duration>,
    first_token: Duration,
    last_token: Duration,
    chain: Chain,
    prompt_tokens: u32,
    output_tokens: u32,
    max_tokens: u32,
    finish: FinishReason,
    seed: u64,
    emitted: u32,
    cached_tokens: u32,
    /// Tokens whose KV is computed, or will be when the step in progress ends.
    computed: u32,
    blocks: Vec<BlockId>,
    /// Blocks of it that can be found by their hash.
    published: u32,
    preemptions: u32,
    /// The front end has heard that it left the queue.
    reported: bool,
}

impl Request {
    /// Tokens known so far.
    fn tokens(&self) -> u32 {
        self.prompt_tokens + self.emitted
    }
}

#[derive(Debug)]
struct Step {
    end: Duration,
    /// Sequences in it.
    work: Vec<RequestId>,
}

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: SchedulerConfig,
    requests: HashMap<RequestId, Request>,
    waiting: VecDeque<RequestId>,
    running: Vec<RequestId>,
    /// Requests that arrived while paused: in no queue that is counted.
    held: VecDeque<RequestId>,
    step: Option<Step>,
    pool: BlockPool,
    next_id: RequestId,
    unreported: u32,
    paused: bool,
    slowdown: f64,
    stats: Stats,
}

impl Scheduler {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        Self {
            requests: HashMap::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            held: VecDeque::new(),
            step: None,
            pool: BlockPool::new(config.num_blocks, config.kv_sample),
            next_id: 0,
            unreported: 0,
            paused: false,
            slowdown: 1.0,
            stats: Stats::new(config.max_model_len),
            config,
        }
    }

    /// Requests being served.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Share of the KV cache in use.
    pub(crate) fn kv_usage(&self) -> f64 {
        self.pool.usage()
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether one more request would find the queue full. As in vLLM the count is the front end's: a request leaves
    /// it when the step that took it up has ended.
    pub(crate) fn queue_full(&self) -> bool {
        self.config.max_num_queued_reqs.is_some_and(|most| self.unreported >= most)
    }

    /// Counts a request that was turned away.
    pub(crate) fn count_rejection(&mut self) {
        self.stats.rejected += 1;
    }

    /// When the step in progress ends; nothing when idle.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.step.as_ref().map(|step| step.end)
    }

    /// Takes a request up, or turns it away.
    pub(crate) fn submit(&mut self, now: Duration, new: NewRequest) -> Result<RequestId, QueueFull> {
        if self.queue_full() {
            self.count_rejection();
            return Err(QueueFull);
        }
        let id = self.next_id;
        self.next_id += 1;
        let request = Request {
            arrived: new.arrived,
            queued: now,
            scheduled: None,
            first_token: now,
            last_token: now,
            prompt_tokens: new.prompt.len(),
            chain: new.prompt,
            output_tokens: new.output_tokens,
            max_tokens: new.max_tokens,
            finish: new.finish,
            seed: new.seed,
            emitted: 0,
            cached_tokens: 0,
            computed: 0,
            blocks: Vec::new(),
            published: 0,
            preemptions: 0,
            reported: self.paused,
        };
        self.requests.insert(id, request);
        if self.paused {
            self.held.push_back(id);
        } else {
            self.unreported += 1;
            self.waiting.push_back(id);
            self.begin_step_if_idle(now);
        }
        Ok(id)
    }

    /// Forgets a request whose client went away; its place and blocks are free at once.
    pub(crate) fn abort(&mut self, id: RequestId) {
        self.remove(id);
    }

    /// Ends every step that is over by `now` and appends what they brought forth.
    pub(crate) fn advance(&mut self, now: Duration, progress: &mut Vec<Progress>) {
        while self.step.as_ref().is_some_and(|step| step.end <= now) {
            let Some(step) = self.step.take() else { return };
            self.end_step(&step, progress);
            self.begin_step_if_idle(step.end);
        }
    }

    /// Stops stepping; with `abort` the requests in the engine end as they are.
    pub(crate) fn pause(&mut self, abort: bool, progress: &mut Vec<Progress>) {
        self.paused = true;
        if !abort {
            return;
        }
        let mut ids: Vec<RequestId> = self.running.iter().chain(&self.waiting).copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(request) = self.remove(id) {
                self.stats.finished_abort += 1;
                progress.push(Progress {
                    id,
                    emitted: request.emitted,
                    cached_tokens: request.cached_tokens,
                    finished: Some(FinishReason::Abort),
                });
            }
        }
    }

    /// Goes on after [`Self::pause`], with the requests that came meanwhile.
    pub(crate) fn resume(&mut self, now: Duration) {
        self.paused = false;
        for id in std::mem::take(&mut self.held) {
            if let Some(request) = self.requests.get_mut(&id) {
                request.queued = now;
                request.reported = false;
                self.unreported += 1;
                self.waiting.push_back(id);
            }
        }
        self.begin_step_if_idle(now);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Forgets cached prefixes; false while requests use the cache.
    pub(crate) fn reset_prefix_cache(&mut self) -> bool {
        self.pool.reset()
    }

    /// Makes every step from the next on last `factor` times as long.
    pub(crate) fn set_slowdown(&mut self, factor: f64) {
        self.slowdown = factor;
    }

    fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.pool.release(&request.blocks);
        self.running.retain(|other| *other != id);
        self.waiting.retain(|other| *other != id);
        self.held.retain(|other| *other != id);
        if !request.reported {
            self.unreported -= 1;
        }
        Some(request)
    }
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
