//! The fast engine: it leaps over the steps between two events.
//!
//! While no prompt is computed nothing but the context changes from step to step, by one token for each of the `n`
//! sequences, so `m` steps last `m · first + slope · m(m−1)/2`: one formula instead of `m` steps. A leap ends with the
//! next answer, before the KV blocks run out, or at the boundary after a new job; steps that compute prompts are taken
//! singly. The result is that of stepping, to the rounding of floating point, for about three events a request.
//!
//! Step numbers stand in for time: a sequence that computes `c` tokens of context in step `s` computes
//! `c + 1` in the next, so `base = c − s` never changes. The sum of the bases gives the context of any step, and
//! `(1 − base) mod 16` says in which steps the sequence needs another KV block.

use std::collections::VecDeque;

use engine_model::{Batch, StepTime};

use super::engine::{BLOCK_TOKENS, Engine, Finished, Gauges, Job, Progress, kv_blocks};
use super::settings::EngineSettings;

/// A job in the engine.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    job: Job,
    /// Tokens to compute before the next one comes: the prompt, and after a preemption what was answered before.
    known_tokens: u32,
    /// Tokens answered before it was last admitted.
    emitted: u32,
    first_token_seconds: f64,
    /// Order of admission.
    admitted: u64,
    /// Number of the boundary at which it ends; known while it decodes.
    finish: u64,
}

impl Sequence {
    /// Context computed in step `s`, less `s`.
    fn base(&self) -> i64 {
        i64::from(self.job.prompt_tokens) + i64::from(self.job.output_tokens) - self.finish as i64
    }

    /// Steps of this number, modulo the block size, need another block.
    fn growing_phase(&self) -> usize {
        (1 - self.base()).rem_euclid(i64::from(BLOCK_TOKENS)) as usize
    }
}

/// Steps in progress, `m` of them lasting `m · first + slope · m(m−1)/2` seconds.
#[derive(Debug, Clone, Copy)]
struct Leap {
    begin_seconds: f64,
    end_seconds: f64,
    steps: u64,
    first_seconds: f64,
    slope_seconds: f64,
}

impl Leap {
    fn seconds(&self, steps: u64) -> f64 {
        let steps = steps as f64;
        steps * self.first_seconds + self.slope_seconds * steps * (steps - 1.0) / 2.0
    }

    /// The fewest steps, at least one, that last longer than `seconds`.
    fn steps_beyond(&self, seconds: f64) -> u64 {
        // Positive root of slope/2 · m² + (first − slope/2) · m = seconds, in the form that bears slope = 0.
        let linear = self.first_seconds - self.slope_seconds / 2.0;
        let root = 2.0 * seconds / (linear + (linear * linear + 2.0 * self.slope_seconds * seconds).sqrt());
        let mut steps = (root as u64).saturating_add(1);
        while steps > 1 && self.seconds(steps - 1) > seconds {
            steps -= 1;
        }
        while self.seconds(steps) <= seconds {
            steps += 1;
        }
        steps
    }
}

/// A prompt that takes several steps; always the youngest in the batch.
#[derive(Debug, Clone, Copy)]
struct Partial {
    slot: u32,
    computed: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct LeapingEngine {
    model: StepTime,
    max_sequences: u32,
    max_batched_tokens: u32,
    total_blocks: u64,
    warm_until_seconds: f64,
    slowdown: f64,
    slots: Vec<Sequence>,
    free_slots: Vec<u32>,
    waiting: VecDeque<u32>,
    /// How many of them the step in progress had no room for.
    left_waiting: usize,
    /// Decoding sequences as `finish << 32 | slot`, the first to end last.
    finishing: Vec<u64>,
    /// Sum of [`Sequence::base`] over them.
    context_base: i64,
    /// How many of them need another block in steps of each number modulo the block size.
    growing: [u32; BLOCK_TOKENS as usize],
    partial: Option<Partial>,
    /// Sequences whose prompt is computed when the step in progress ends.
    completing: Vec<u32>,
    used_blocks: u64,
    step: u64,
    leap: Option<Leap>,
    admissions: u64,
    counters: Gauges,
}

impl Engine for LeapingEngine {
    fn new(settings: &EngineSettings, ready_seconds: f64) -> Self {
        Self {
            model: settings.step,
            max_sequences: settings.limits.max_sequences,
            max_batched_tokens: settings.limits.max_batched_tokens,
            total_blocks: kv_blocks(settings),
            warm_until_seconds: ready_seconds + settings.warm_up.seconds,
            slowdown: settings.warm_up.slowdown,
            slots: Vec::new(),
            free_slots: Vec::new(),
            waiting: VecDeque::new(),
            left_waiting: 0,
            finishing: Vec::new(),
            context_base: 0,
            growing: [0; BLOCK_TOKENS as usize],
            partial: None,
            completing: Vec::new(),
            used_blocks: 0,
            step: 0,
            leap: None,
            admissions: 0,
            counters: Gauges::default(),
        }
    }

    fn submit(&mut self, now: f64, job: Job) {
        let sequence = Sequence {
            job,
            known_tokens: job.prompt_tokens,
            emitted: 0,
            first_token_seconds: f64::NAN,
            admitted: 0,
            finish: 0,
        };
        let slot = if let Some(slot) = self.free_slots.pop() {
            self.slots[slot as usize] = sequence;
            slot
        } else {
            self.slots.push(sequence);
            self.slots.len() as u32 - 1
        };
        let was_empty = self.waiting.is_empty();
        self.waiting.push_back(slot);
        match &mut self.leap {
            None => self.begin_leap(now),
            // Behind a job that has no room yet it has none either.
            Some(leap) if was_empty && leap.steps > 1 => {
                let steps = leap.steps_beyond(now - leap.begin_seconds);
                if steps < leap.steps {
                    leap.steps = steps;
                    leap.end_seconds = leap.begin_seconds + leap.seconds(steps);
                }
            }
            Some(_) => {}
        }
    }

    fn next_event_seconds(&self) -> f64 {
        self.leap.map_or(f64::INFINITY, |leap| leap.end_seconds)
    }

    fn advance(&mut self, progress: &mut Progress) {
        let Some(leap) = self.leap.take() else { return };
        let now = leap.end_seconds;
        self.used_blocks += self.growth(leap.steps);
        self.step += leap.steps;
        let decoding = self.finishing.len() as f64;
        self.counters.gaps += decoding * leap.steps as f64;
        self.counters.gaps_seconds += decoding * (leap.end_seconds - leap.begin_seconds);
        self.counters.output_tokens += (self.finishing.len() as u64 * leap.steps + self.completing.len() as u64) as f64;
        self.end_answers(now, progress);
        self.end_prompts(now, progress);
        self.begin_leap(now);
    }

    fn gauges(&self, now: f64) -> Gauges {
        let (since, since_seconds) = self.leap.map_or((0.0, 0.0), |leap| {
            let share = (now - leap.begin_seconds) / (leap.end_seconds - leap.begin_seconds);
            let steps = (leap.steps as f64 * share.clamp(0.0, 1.0)).floor();
            (steps, leap.seconds(steps as u64))
        });
        let decoding = self.finishing.len() as f64;
        let left = self.waiting.iter().take(self.left_waiting);
        Gauges {
            running: self.running() as u32,
            waiting: self.left_waiting as u32,
            waiting_prompt_tokens: left.map(|slot| u64::from(self.sequence(*slot).known_tokens)).sum(),
            kv_share: self.used_blocks as f64 / self.total_blocks.max(1) as f64,
            output_tokens: self.counters.output_tokens + since * decoding,
            gaps: self.counters.gaps + since * decoding,
            gaps_seconds: self.counters.gaps_seconds + since_seconds * decoding,
            ..self.counters
        }
    }
}

impl LeapingEngine {
    fn sequence(&self, slot: u32) -> &Sequence {
        &self.slots[slot as usize]
    }

    fn running(&self) -> usize {
        self.finishing.len() + usize::from(self.partial.is_some()) + self.completing.len()
    }

    /// Blocks that the decoding sequences need in the next `steps` steps.
    fn growth(&self, steps: u64) -> u64 {
        let block = u64::from(BLOCK_TOKENS);
        let whole = steps / block * self.finishing.len() as u64;
        let rest = (0..steps % block).map(|offset| u64::from(self.growing[((self.step + offset) % block) as usize]));
        whole + rest.sum::<u64>()
    }

    /// The most steps, up to `steps`, for which the free blocks last; the first one fits.
    fn steps_that_fit(&self, steps: u64) -> u64 {
        let free = self.total_blocks - self.used_blocks;
        let decoding = self.finishing.len() as u64;
        let block = u64::from(BLOCK_TOKENS);
        if steps.div_ceil(block) * decoding <= free {
            return steps;
        }
        let mut fitting = (free / decoding * block).max(1);
        while fitting < steps && self.growth(fitting + 1) <= free {
            fitting += 1;
        }
        fitting.min(steps)
    }

    fn begin_leap(&mut self, now: f64) {
        let preempted = self.make_room();
        let decoding = self.finishing.len() as u32;
        let mut budget = self.max_batched_tokens - decoding;
        let mut prefill = Batch::default();
        if let Some(partial) = self.partial.take() {
            self.compute(partial, &mut budget, &mut prefill);
        }
        if !preempted {
            self.admit_waiting(&mut budget, &mut prefill);
        }
        self.left_waiting = self.waiting.len();
        let count = f64::from(decoding) + prefill.sequences;
        if count < 1.0 {
            return;
        }
        let factor = if now < self.warm_until_seconds { self.slowdown } else { 1.0 };
        let context = self.context_base + i64::from(decoding) * self.step as i64;
        let batch = Batch {
            sequences: count,
            tokens: f64::from(decoding) + prefill.tokens,
            context_tokens: context as f64 + prefill.context_tokens,
        };
        let mut leap = Leap {
            begin_seconds: now,
            end_seconds: now,
            steps: 1,
            first_seconds: factor * self.model.step_seconds(batch),
            slope_seconds: factor * self.model.per_context_token_seconds * f64::from(decoding),
        };
        if prefill.sequences < 1.0 && !preempted {
            let next = self.finishing.last().map_or(1, |key| (key >> 32) - self.step);
            leap.steps = self.steps_that_fit(next);
            if now < self.warm_until_seconds && factor > 1.0 {
                leap.steps = leap.steps.min(leap.steps_beyond(self.warm_until_seconds - now));
            }
        }
        leap.end_seconds = now + leap.seconds(leap.steps);
        self.leap = Some(leap);
    }

    /// Preempts the youngest until the running ones have blocks for their next step; true if that was needed.
    fn make_room(&mut self) -> bool {
        let mut preempted = false;
        loop {
            let chunk = self.partial.map_or(0, |partial| {
                let budget = self.max_batched_tokens - self.finishing.len() as u32;
                let tokens = (self.sequence(partial.slot).known_tokens - partial.computed).min(budget);
                blocks(partial.computed + tokens) - blocks(partial.computed)
            });
            if self.used_blocks + self.growth(1) + chunk <= self.total_blocks {
                return preempted;
            }
            self.preempt_youngest();
            preempted = true;
        }
    }

    fn preempt_youngest(&mut self) {
        let slot = if let Some(partial) = self.partial.take() {
            self.used_blocks -= blocks(partial.computed);
            partial.slot
        } else {
            let youngest = (0..self.finishing.len()).max_by_key(|index| {
                let slot = self.finishing[*index] as u32;
                self.sequence(slot).admitted
            });
            let Some(youngest) = youngest else { return };
            let slot = self.finishing.remove(youngest) as u32;
            let sequence = *self.sequence(slot);
            self.forget(&sequence);
            let context = (sequence.base() + self.step as i64) as u32;
            self.used_blocks -= blocks(context - 1);
            let again = &mut self.slots[slot as usize];
            again.emitted = context - sequence.job.prompt_tokens;
            again.known_tokens = context;
            slot
        };
        self.counters.preemptions += 1;
        self.waiting.push_front(slot);
    }

    fn admit_waiting(&mut self, budget: &mut u32, prefill: &mut Batch) {
        while *budget > 0 && self.running() < self.max_sequences as usize {
            let Some(slot) = self.waiting.front().copied() else { return };
            let tokens = self.sequence(slot).known_tokens.min(*budget);
            if self.used_blocks + self.growth(1) + blocks(tokens) > self.total_blocks {
                return;
            }
            self.waiting.pop_front();
            self.admissions += 1;
            self.slots[slot as usize].admitted = self.admissions;
            self.counters.prompt_tokens += u64::from(self.sequence(slot).known_tokens);
            self.compute(Partial { slot, computed: 0 }, budget, prefill);
        }
    }

    /// Computes the next chunk of a prompt in the step that is put together.
    fn compute(&mut self, partial: Partial, budget: &mut u32, prefill: &mut Batch) {
        let known = self.sequence(partial.slot).known_tokens;
        let tokens = (known - partial.computed).min(*budget);
        let computed = partial.computed + tokens;
        *budget -= tokens;
        self.used_blocks += blocks(computed) - blocks(partial.computed);
        prefill.sequences += 1.0;
        prefill.tokens += f64::from(tokens);
        prefill.context_tokens += f64::from(computed);
        if computed == known {
            self.completing.push(partial.slot);
        } else {
            self.partial = Some(Partial { computed, ..partial });
        }
    }

    fn end_answers(&mut self, now: f64, progress: &mut Progress) {
        while let Some(key) = self.finishing.last().copied()
            && key >> 32 == self.step
        {
            self.finishing.pop();
            let slot = key as u32;
            let sequence = *self.sequence(slot);
            self.forget(&sequence);
            self.used_blocks -= sequence.job.most_blocks(BLOCK_TOKENS);
            self.answer(slot, now, progress);
        }
    }

    fn end_prompts(&mut self, now: f64, progress: &mut Progress) {
        for index in 0..self.completing.len() {
            let slot = self.completing[index];
            let step = self.step;
            let sequence = &mut self.slots[slot as usize];
            if sequence.emitted == 0 {
                sequence.first_token_seconds = now;
                progress.ttft_seconds.push(now - sequence.job.arrival_seconds);
            }
            let remaining = u64::from(sequence.job.output_tokens - sequence.emitted);
            if remaining == 1 {
                self.used_blocks -= blocks(sequence.known_tokens);
                self.answer(slot, now, progress);
                continue;
            }
            sequence.finish = step + remaining - 1;
            let (base, phase, key) =
                (sequence.base(), sequence.growing_phase(), sequence.finish << 32 | u64::from(slot));
            self.context_base += base;
            self.growing[phase] += 1;
            let position = self.finishing.partition_point(|other| *other > key);
            self.finishing.insert(position, key);
        }
        self.completing.clear();
    }

    /// Takes a decoding sequence out of the sums.
    fn forget(&mut self, sequence: &Sequence) {
        self.context_base -= sequence.base();
        self.growing[sequence.growing_phase()] -= 1;
    }

    fn answer(&mut self, slot: u32, now: f64, progress: &mut Progress) {
        let Sequence { job, first_token_seconds, .. } = *self.sequence(slot);
        progress.finished.push(Finished { job, first_token_seconds, finish_seconds: now });
        self.free_slots.push(slot);
    }
}

fn blocks(tokens: u32) -> u64 {
    u64::from(tokens.div_ceil(BLOCK_TOKENS))
}
