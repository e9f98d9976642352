//! How a step is put together, and what happens at its end.

use std::time::Duration;

use engine_model::Batch;

use super::{Progress, Request, RequestId, Scheduler, SchedulerConfig, Step};
use crate::kv::BlockPool;
use crate::stats::{FinishReason, Stats};
use crate::text;

impl Scheduler {
    pub(super) fn begin_step_if_idle(&mut self, now: Duration) {
        if self.step.is_some() || self.paused {
            return;
        }
        let mut batch = Batch::default();
        let mut work = Vec::with_capacity(self.running.len() + 1);
        let mut budget = self.config.max_num_batched_tokens;
        let preempted = self.serve_running(now, &mut budget, &mut batch, &mut work);
        if !preempted {
            self.admit_waiting(now, &mut budget, &mut batch, &mut work);
        }
        if work.is_empty() {
            return;
        }
        let seconds = self.config.step.step_seconds(batch) * self.slowdown / self.config.time_scale;
        self.step = Some(Step { end: now + Duration::from_secs_f64(seconds), work });
    }

    /// Gives each running sequence its next tokens; true if blocks ran out and some were preempted.
    fn serve_running(&mut self, now: Duration, budget: &mut u32, batch: &mut Batch, work: &mut Vec<RequestId>) -> bool {
        let mut preempted = false;
        let mut position = 0;
        while position < self.running.len() && *budget > 0 {
            let id = self.running[position];
            let Some(request) = self.requests.get_mut(&id) else {
                self.running.remove(position);
                continue;
            };
            let tokens = (request.tokens() - request.computed).min(*budget);
            if grow(request, tokens, self.config.block_size, &mut self.pool, &mut self.stats, now) {
                take_up(request, tokens, &self.config, &mut self.pool, batch);
                *budget -= tokens;
                work.push(id);
                position += 1;
            } else {
                preempted = true;
                self.preempt_youngest();
            }
        }
        preempted
    }

    /// The youngest running sequence loses its blocks and waits at the head of the queue to be computed again.
    fn preempt_youngest(&mut self) {
        let Some(id) = self.running.pop() else { return };
        let Some(request) = self.requests.get_mut(&id) else { return };
        self.pool.release(&std::mem::take(&mut request.blocks));
        request.computed = 0;
        request.published = 0;
        request.preemptions += 1;
        self.stats.preemptions += 1;
        self.waiting.push_front(id);
    }

    fn admit_waiting(&mut self, now: Duration, budget: &mut u32, batch: &mut Batch, work: &mut Vec<RequestId>) {
        while self.running.len() < self.config.max_num_seqs as usize && *budget > 0 {
            let Some(id) = self.waiting.front().copied() else { return };
            let Some(request) = self.requests.get_mut(&id) else {
                self.waiting.pop_front();
                continue;
            };
            // At least one token must be computed to yield the next.
            let sharable = ((request.tokens() - 1) / self.config.block_size) as usize;
            let hashes = &request.chain.blocks()[..sharable.min(request.chain.blocks().len())];
            let shared = if self.config.prefix_caching { self.pool.find(hashes) } else { Vec::new() };
            let cached = shared.len() as u32 * self.config.block_size;
            let tokens = (request.tokens() - cached).min(*budget);
            let needed = (cached + tokens).div_ceil(self.config.block_size) - shared.len() as u32;
            if self.pool.free() < needed + self.pool.unused_among(&shared) {
                return;
            }
            for block in &shared {
                self.pool.share(*block, now);
            }
            request.published = shared.len() as u32;
            request.computed = cached;
            request.blocks = shared;
            self.waiting.pop_front();
            self.running.push(id);
            note_scheduled(request, cached, now, self.config.prefix_caching, &mut self.stats);
            if grow(request, tokens, self.config.block_size, &mut self.pool, &mut self.stats, now) {
                take_up(request, tokens, &self.config, &mut self.pool, batch);
            }
            *budget -= tokens;
            work.push(id);
        }
    }

    pub(super) fn end_step(&mut self, step: &Step, progress: &mut Vec<Progress>) {
        let mut step_tokens = 0;
        for id in &step.work {
            // Aborted meanwhile.
            let Some(request) = self.requests.get_mut(id) else { continue };
            if !request.reported {
                request.reported = true;
                self.unreported -= 1;
            }
            if request.computed < request.tokens() {
                continue;
            }
            request.chain.push(text::token(request.seed, request.emitted));
            request.emitted += 1;
            step_tokens += note_token(request, step.end, &mut self.stats);
            let finished = (request.emitted >= request.output_tokens).then_some(request.finish);
            progress.push(Progress {
                id: *id,
                emitted: request.emitted,
                cached_tokens: request.cached_tokens,
                finished,
            });
            if let Some(reason) = finished
                && let Some(request) = self.remove(*id)
            {
                note_finished(&request, reason, &mut self.stats);
            }
        }
        self.stats.iteration_tokens.observe(f64::from(step_tokens));
    }
}

/// Makes room for `tokens` more; false if blocks run out, with nothing kept that was not there before.
fn grow(
    request: &mut Request,
    tokens: u32,
    block_size: u32,
    pool: &mut BlockPool,
    stats: &mut Stats,
    now: Duration,
) -> bool {
    let needed = (request.computed + tokens).div_ceil(block_size) as usize;
    let missing = needed.saturating_sub(request.blocks.len());
    if pool.free() < missing as u32 {
        return false;
    }
    for _ in 0..missing {
        let Some(block) = pool.allocate(now, &mut stats.blocks) else { return false };
        request.blocks.push(block);
    }
    true
}

/// Adds a sequence's `tokens` to the step, and makes the blocks that they fill findable.
fn take_up(request: &mut Request, tokens: u32, config: &SchedulerConfig, pool: &mut BlockPool, batch: &mut Batch) {
    request.computed += tokens;
    batch.sequences += 1.0;
    batch.tokens += f64::from(tokens);
    batch.context_tokens += f64::from(request.computed);
    if !config.prefix_caching {
        return;
    }
    let full = (request.computed / config.block_size) as usize;
    for index in request.published as usize..full.min(request.chain.blocks().len()) {
        pool.publish(request.blocks[index], request.chain.blocks()[index]);
        request.published = index as u32 + 1;
    }
}

fn note_scheduled(request: &mut Request, cached: u32, now: Duration, prefix_caching: bool, stats: &mut Stats) {
    if request.scheduled.is_some() {
        return;
    }
    request.scheduled = Some(now);
    request.cached_tokens = cached;
    if prefix_caching {
        stats.prefix_cache_queries += u64::from(request.prompt_tokens);
        stats.prefix_cache_hits += u64::from(cached);
    }
}

/// Records a token; returns what it adds to the step's count (the first brings its computed prompt with it).
fn note_token(request: &mut Request, now: Duration, stats: &mut Stats) -> u32 {
    stats.generation_tokens += 1;
    let mut tokens = 1;
    if request.emitted == 1 {
        let computed = request.prompt_tokens - request.cached_tokens;
        tokens += computed;
        stats.prompt_tokens += u64::from(request.prompt_tokens);
        stats.prompt_tokens_computed += u64::from(computed);
        stats.prompt_tokens_cached += u64::from(request.cached_tokens);
        stats.ttft.observe((now - request.arrived).as_secs_f64());
        request.first_token = now;
    } else {
        stats.inter_token.observe((now - request.last_token).as_secs_f64());
    }
    request.last_token = now;
    tokens
}

fn note_finished(request: &Request, reason: FinishReason, stats: &mut Stats) {
    match reason {
        FinishReason::Stop => stats.finished_stop += 1,
        FinishReason::Length => stats.finished_length += 1,
        FinishReason::Abort => stats.finished_abort += 1,
    }
    let scheduled = request.scheduled.unwrap_or(request.queued);
    let decode = (request.last_token - request.first_token).as_secs_f64();
    stats.request_prompt_tokens.observe(f64::from(request.prompt_tokens));
    stats.request_generation_tokens.observe(f64::from(request.emitted));
    stats.request_max_generation_tokens.observe(f64::from(request.emitted));
    stats.request_n.observe(1.0);
    stats.request_max_tokens.observe(f64::from(request.max_tokens));
    stats.e2e.observe((request.last_token - request.arrived).as_secs_f64());
    stats.queue.observe((scheduled - request.queued).as_secs_f64());
    stats.inference.observe((request.last_token - scheduled).as_secs_f64());
    stats.prefill.observe((request.first_token - scheduled).as_secs_f64());
    stats.decode.observe(decode);
    let mean = if request.emitted > 1 { decode / f64::from(request.emitted - 1) } else { 0.0 };
    stats.per_output_token.observe(mean);
    stats.request_preemptions.observe(f64::from(request.preemptions));
    stats.prefill_computed_tokens.observe(f64::from(request.prompt_tokens - request.cached_tokens));
}
