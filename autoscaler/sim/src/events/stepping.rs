//! The plain engine: every step taken, every KV block with its content. Slow, and what the fast one is held to.

use std::collections::VecDeque;

use engine_model::{Batch, StepTime};

use super::blocks::BlockPool;
use super::engine::{Engine, Finished, Gauges, Job, Progress, kv_blocks};
use super::settings::EngineSettings;

#[derive(Debug)]
struct Sequence {
    job: Job,
    emitted: u32,
    /// Tokens whose KV is computed, or will be when the step in progress ends.
    computed: u32,
    /// Its blocks, by the hash under which others find them; [`BlockPool::PRIVATE`] for those nobody can.
    blocks: Vec<u64>,
    /// Blocks offered to others so far.
    published: usize,
    first_token_seconds: f64,
    last_token_seconds: f64,
    in_step: bool,
}

impl Sequence {
    fn tokens(&self) -> u32 {
        self.job.prompt_tokens + self.emitted
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct SteppingEngine {
    model: StepTime,
    max_sequences: usize,
    max_batched_tokens: u32,
    block_tokens: u32,
    prefix_cache: bool,
    warm_until_seconds: f64,
    slowdown: f64,
    pool: BlockPool,
    waiting: VecDeque<Sequence>,
    /// How many of them the step in progress had no room for.
    left_waiting: usize,
    running: Vec<Sequence>,
    step_end_seconds: Option<f64>,
    counters: Gauges,
}

impl Engine for SteppingEngine {
    fn new(settings: &EngineSettings, ready_seconds: f64) -> Self {
        Self {
            model: settings.step,
            max_sequences: settings.limits.max_sequences as usize,
            max_batched_tokens: settings.limits.max_batched_tokens,
            block_tokens: settings.block_tokens,
            prefix_cache: settings.prefix_cache,
            warm_until_seconds: ready_seconds + settings.warm_up.seconds,
            slowdown: settings.warm_up.slowdown,
            pool: BlockPool::new(kv_blocks(settings), settings.prefix_cache),
            waiting: VecDeque::new(),
            left_waiting: 0,
            running: Vec::new(),
            step_end_seconds: None,
            counters: Gauges::default(),
        }
    }

    fn submit(&mut self, now: f64, job: Job) {
        self.waiting.push_back(Sequence {
            job,
            emitted: 0,
            computed: 0,
            blocks: Vec::new(),
            published: 0,
            first_token_seconds: f64::NAN,
            last_token_seconds: f64::NAN,
            in_step: false,
        });
        if self.step_end_seconds.is_none() {
            self.begin_step(now);
        }
    }

    fn next_event_seconds(&self) -> f64 {
        self.step_end_seconds.unwrap_or(f64::INFINITY)
    }

    fn advance(&mut self, progress: &mut Progress) {
        let Some(now) = self.step_end_seconds.take() else { return };
        let mut running = std::mem::take(&mut self.running);
        running.retain_mut(|sequence| {
            if !sequence.in_step || sequence.computed < sequence.tokens() {
                return true;
            }
            if sequence.emitted == 0 {
                sequence.first_token_seconds = now;
                progress.ttft_seconds.push(now - sequence.job.arrival_seconds);
            }
            if sequence.emitted > 0 {
                self.counters.gaps += 1.0;
                self.counters.gaps_seconds += now - sequence.last_token_seconds;
            }
            sequence.last_token_seconds = now;
            sequence.emitted += 1;
            self.counters.output_tokens += 1.0;
            if sequence.emitted < sequence.job.output_tokens {
                return true;
            }
            self.pool.release(&sequence.blocks);
            let Sequence { job, first_token_seconds, .. } = *sequence;
            progress.finished.push(Finished { job, first_token_seconds, finish_seconds: now });
            false
        });
        self.running = running;
        self.begin_step(now);
    }

    fn gauges(&self, _now: f64) -> Gauges {
        let left = self.waiting.iter().take(self.left_waiting);
        Gauges {
            running: self.running.len() as u32,
            waiting: self.left_waiting as u32,
            waiting_prompt_tokens: left.map(|sequence| u64::from(sequence.tokens())).sum(),
            kv_share: self.pool.usage(),
            ..self.counters
        }
    }
}

impl SteppingEngine {
    fn begin_step(&mut self, now: f64) {
        let mut batch = Batch::default();
        let mut budget = self.max_batched_tokens;
        let preempted = self.serve_running(&mut budget, &mut batch);
        if !preempted {
            self.admit_waiting(&mut budget, &mut batch);
        }
        self.left_waiting = self.waiting.len();
        if batch.sequences >= 1.0 {
            let factor = if now < self.warm_until_seconds { self.slowdown } else { 1.0 };
            self.step_end_seconds = Some(now + factor * self.model.step_seconds(batch));
        }
    }

    /// Gives each running sequence its next tokens; true if blocks ran out and some were preempted.
    fn serve_running(&mut self, budget: &mut u32, batch: &mut Batch) -> bool {
        let mut preempted = false;
        let mut position = 0;
        self.running.iter_mut().for_each(|sequence| sequence.in_step = false);
        while position < self.running.len() && *budget > 0 {
            let tokens = {
                let sequence = &self.running[position];
                (sequence.tokens() - sequence.computed).min(*budget)
            };
            if self.compute(position, tokens, batch) {
                *budget -= tokens;
                position += 1;
            } else {
                preempted = true;
                self.preempt_youngest();
            }
        }
        preempted
    }

    fn preempt_youngest(&mut self) {
        let Some(mut sequence) = self.running.pop() else { return };
        self.pool.release(&std::mem::take(&mut sequence.blocks));
        (sequence.computed, sequence.published) = (0, 0);
        self.counters.preemptions += 1;
        self.waiting.push_front(sequence);
    }

    fn admit_waiting(&mut self, budget: &mut u32, batch: &mut Batch) {
        while self.running.len() < self.max_sequences && *budget > 0 {
            let Some(sequence) = self.waiting.front() else { return };
            let block_tokens = self.block_tokens;
            // At least one token must be computed to yield the next.
            let sharable = if self.prefix_cache { (sequence.tokens() - 1) / block_tokens } else { 0 };
            let shared = self.pool.find((0..sharable).map(|index| block_hash(&sequence.job, index, block_tokens)));
            let cached = shared.len() as u32 * block_tokens;
            let tokens = (sequence.tokens() - cached).min(*budget);
            let needed = u64::from((cached + tokens).div_ceil(block_tokens)) - shared.len() as u64;
            if self.pool.free() < needed + self.pool.unused_among(&shared) {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            self.pool.share(&shared);
            if sequence.emitted == 0 {
                self.counters.prompt_tokens += u64::from(sequence.job.prompt_tokens);
                self.counters.cached_prompt_tokens += u64::from(cached);
            }
            (sequence.computed, sequence.published, sequence.blocks) = (cached, shared.len(), shared);
            self.running.push(sequence);
            self.compute(self.running.len() - 1, tokens, batch);
            *budget -= tokens;
        }
    }

    /// Puts `tokens` of a running sequence into the step; false, and nothing done, if blocks run out.
    fn compute(&mut self, position: usize, tokens: u32, batch: &mut Batch) -> bool {
        let sequence = &mut self.running[position];
        let needed = (sequence.computed + tokens).div_ceil(self.block_tokens) as usize;
        let missing = needed.saturating_sub(sequence.blocks.len());
        if self.pool.free() < missing as u64 {
            return false;
        }
        self.pool.allocate(missing as u64);
        sequence.blocks.resize(needed.max(sequence.blocks.len()), BlockPool::PRIVATE);
        sequence.computed += tokens;
        sequence.in_step = true;
        batch.sequences += 1.0;
        batch.tokens += f64::from(tokens);
        batch.context_tokens += f64::from(sequence.computed);
        if self.prefix_cache {
            let full = (sequence.computed / self.block_tokens) as usize;
            for index in sequence.published..full {
                let hash = block_hash(&sequence.job, index as u32, self.block_tokens);
                if self.pool.publish(hash) {
                    sequence.blocks[index] = hash;
                }
            }
            sequence.published = full.max(sequence.published);
        }
        true
    }
}

/// Content of a job's block up to its end: the group's as far as the shared prompt goes, then its own.
fn block_hash(job: &Job, index: u32, block_tokens: u32) -> u64 {
    let is_shared = job.prefix_group != 0 && (index + 1) * block_tokens <= job.shared_tokens.min(job.prompt_tokens);
    // Odd and even keep groups and single jobs apart.
    let owner = if is_shared { job.prefix_group << 1 } else { job.id << 1 | 1 };
    mix(mix(owner) ^ u64::from(index)).max(BlockPool::PRIVATE + 1)
}

/// Finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scatters neighbouring numbers.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
