//! What a run came to, hour by hour.

use std::ops::Range;

use super::BLOCK_SECONDS;
use super::fleet::Change;
use super::queue::Served;
use crate::{Coverage, Demand, Quantiles};

/// Changes of direction within this time count as reversals.
const REVERSAL_SECONDS: f64 = 600.0;
/// Waits from a millisecond to a day in 512 logarithmic classes, 3.6 % wide.
const WAIT_CLASSES: usize = 512;
const WAIT_RANGE: (f64, f64) = (1e-3, 86_400.0);
/// Scored blocks below this many requests are left out of the worst hour: one late request would decide it.
const LEAST_REQUESTS: f64 = 10.0;

/// Sums over a stretch of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    /// Engine-seconds billed.
    pub engine_seconds: f64,
    /// Engine-seconds of the optimum without misses.
    pub opt_engine_seconds: f64,
    /// Demand, in replica-seconds.
    pub demand: f64,
    /// Demand above the Ready replicas, in replica-seconds.
    pub missed_demand: f64,
    /// Requests that arrived.
    pub requests: f64,
    /// Requests that missed the objective.
    pub missed_requests: f64,
    /// Replicas ordered.
    pub starts: u64,
    /// Replicas deleted before they were Ready.
    pub starts_wasted: u64,
    /// Attempts to start that failed.
    pub failed_starts: u64,
}

impl Block {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            engine_seconds: self.engine_seconds + other.engine_seconds,
            opt_engine_seconds: self.opt_engine_seconds + other.opt_engine_seconds,
            demand: self.demand + other.demand,
            missed_demand: self.missed_demand + other.missed_demand,
            requests: self.requests + other.requests,
            missed_requests: self.missed_requests + other.missed_requests,
            starts: self.starts + other.starts,
            starts_wasted: self.starts_wasted + other.starts_wasted,
            failed_starts: self.failed_starts + other.failed_starts,
        }
    }

    /// Share of the demand above the Ready replicas, 0 to 1; 0 without demand.
    #[must_use]
    pub fn overflow(&self) -> f64 {
        if self.demand > 0.0 { self.missed_demand / self.demand } else { 0.0 }
    }

    /// Share of the requests that met the objective, 0 to 1; 1 without requests.
    #[must_use]
    pub fn attainment(&self) -> f64 {
        if self.requests > 0.0 { (1.0 - self.missed_requests / self.requests).max(0.0) } else { 1.0 }
    }

    /// Cost over that of the optimum; infinite when the optimum costs nothing and the run does.
    #[must_use]
    pub fn times_opt(&self) -> f64 {
        if self.engine_seconds <= 0.0 { 0.0 } else { self.engine_seconds / self.opt_engine_seconds }
    }
}

/// Series of every step, for plots.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// Replicas that are billed: they exist and have a machine.
    pub replicas: Vec<u32>,
    /// Ready replicas, in the mean over the step.
    pub ready: Vec<f64>,
    /// Wait of those that arrive in the step, in seconds, the mean.
    pub wait_seconds: Vec<f64>,
    /// Work that waits at the end of the step, in replica-seconds.
    pub backlog: Vec<f64>,
}

/// One run of one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Sums of the scored time, an hour each ([`BLOCK_SECONDS`]); the last may be shorter.
    pub blocks: Vec<Block>,
    /// Scored time.
    pub scored_seconds: f64,
    /// Time to first token of the scored requests: their wait, and the prefill in a full engine.
    pub ttft_seconds: Quantiles,
    /// Changes of direction within ten minutes.
    pub reversals: u64,
    /// What the policy says of its own forecast.
    pub forecast_coverage: Option<Coverage>,
    /// Every step of the trace, if it was asked for.
    pub steps: Steps,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            scored_seconds: 0.0,
            ttft_seconds: Quantiles { p50: 0.0, p95: 0.0, p99: 0.0 },
            reversals: 0,
            forecast_coverage: None,
            steps: Steps::default(),
        }
    }
}

impl Run {
    /// Sum of all blocks.
    #[must_use]
    pub fn total(&self) -> Block {
        sum(&self.blocks)
    }

    /// Sum of the blocks that begin within a part of the scored time, from and to being shares of it: tuning looks at
    /// `part(0.0, 0.5)` and is scored by `part(0.5, 1.0)`.
    #[must_use]
    pub fn part(&self, from: f64, to: f64) -> Block {
        let count = self.blocks.len() as f64;
        let at = |share: f64| ((share * count).round().max(0.0) as usize).min(self.blocks.len());
        sum(&self.blocks[at(from).min(at(to))..at(to)])
    }

    /// The run as if only what follows a share of the scored time were scored. Quantiles and the rate of reversals stay
    /// those of all of it.
    #[must_use]
    pub fn later_part(&self, from: f64) -> Self {
        let first = ((from * self.blocks.len() as f64).round().max(0.0) as usize).min(self.blocks.len());
        let scored_seconds = (self.scored_seconds - first as f64 * BLOCK_SECONDS).max(0.0);
        let share = if self.scored_seconds > 0.0 { scored_seconds / self.scored_seconds } else { 0.0 };
        Self {
            blocks: self.blocks[first..].to_vec(),
            scored_seconds,
            reversals: (self.reversals as f64 * share).round() as u64,
            ..self.clone()
        }
    }

    /// Sums by day of the scored time, without a last one that is shorter than half a day.
    #[must_use]
    pub fn days(&self) -> Vec<Block> {
        let hours = (86_400.0 / BLOCK_SECONDS) as usize;
        self.blocks.chunks(hours).filter(|day| day.len() * 2 >= hours).map(sum).collect()
    }

    /// Attainment in the worst hour of ten requests or more, 0 to 1; 1 if there is none.
    #[must_use]
    pub fn worst_attainment(&self) -> f64 {
        let busy = self.blocks.iter().filter(|block| block.requests >= LEAST_REQUESTS);
        busy.map(Block::attainment).fold(1.0, f64::min)
    }
}

fn sum(blocks: &[Block]) -> Block {
    blocks.iter().fold(Block::default(), Block::plus)
}

/// Gathers a run.
#[derive(Debug)]
pub(super) struct Recorder {
    scored: Range<usize>,
    step_seconds: f64,
    steps_per_block: usize,
    keeps_steps: bool,
    run: Run,
    waits: Vec<f64>,
    not_waiting: f64,
    /// Last change: when, and whether it was upwards.
    last_change: Option<(f64, bool)>,
}

impl Recorder {
    pub(super) fn new(scored: Range<usize>, steps: usize, step_seconds: f64, keeps_steps: bool) -> Self {
        let steps_per_block = ((BLOCK_SECONDS / step_seconds).round() as usize).max(1);
        let blocks = scored.len().div_ceil(steps_per_block);
        let kept = if keeps_steps { steps } else { 0 };
        let steps = Steps {
            replicas: Vec::with_capacity(kept),
            ready: Vec::with_capacity(kept),
            wait_seconds: Vec::with_capacity(kept),
            backlog: Vec::with_capacity(kept),
        };
        let scored_seconds = scored.len() as f64 * step_seconds;
        let run = Run { blocks: vec![Block::default(); blocks], scored_seconds, steps, ..Run::default() };
        let waits = vec![0.0; WAIT_CLASSES];
        Self { scored, step_seconds, steps_per_block, keeps_steps, run, waits, not_waiting: 0.0, last_change: None }
    }

    fn block(&mut self, step: usize) -> Option<&mut Block> {
        if !self.scored.contains(&step) {
            return None;
        }
        let index = (step - self.scored.start) / self.steps_per_block;
        self.run.blocks.get_mut(index)
    }

    pub(super) fn take_change(&mut self, step: usize, now: f64, change: Change) {
        if change == Change::default() {
            return;
        }
        let upwards = change.starts > 0;
        let is_reversal = self
            .last_change
            .is_some_and(|(at, was_upwards)| was_upwards != upwards && now - at <= REVERSAL_SECONDS + 1e-6);
        self.last_change = Some((now, upwards));
        let Some(block) = self.block(step) else { return };
        block.starts += u64::from(change.starts);
        block.starts_wasted += u64::from(change.starts_wasted);
        self.run.reversals += u64::from(is_reversal);
    }

    pub(super) fn take_failures(&mut self, step: usize, failed_starts: u32) {
        if failed_starts > 0
            && let Some(block) = self.block(step)
        {
            block.failed_starts += u64::from(failed_starts);
        }
    }

    pub(super) fn take_step(
        &mut self,
        step: usize,
        billed: u32,
        optimum: u32,
        demand: &Demand,
        ready: f64,
        served: &Served,
    ) {
        let late = served.late_share;
        if self.keeps_steps {
            let steps = &mut self.run.steps;
            steps.replicas.push(billed);
            steps.ready.push(ready);
            steps.wait_seconds.push((1.0 - late) * served.wait_seconds + late * served.late_wait_seconds);
            steps.backlog.push(served.backlog);
        }
        let (dt, arrivals) = (self.step_seconds, demand.arrivals[step]);
        let Some(block) = self.block(step) else { return };
        block.engine_seconds += f64::from(billed) * dt;
        block.opt_engine_seconds += f64::from(optimum) * dt;
        block.demand += demand.replicas[step] * dt;
        block.missed_demand += served.overflow;
        block.requests += arrivals;
        block.missed_requests += served.missed;
        self.take_wait(served.wait_seconds, arrivals * (1.0 - late));
        if late > 0.0 {
            self.take_wait(served.late_wait_seconds, arrivals * late);
        }
    }

    fn take_wait(&mut self, seconds: f64, requests: f64) {
        if requests <= 0.0 {
            return;
        }
        if seconds < WAIT_RANGE.0 {
            self.not_waiting += requests;
        } else {
            let class = (seconds / WAIT_RANGE.0).ln() / class_width();
            self.waits[(class as usize).min(WAIT_CLASSES - 1)] += requests;
        }
    }

    pub(super) fn finish(mut self, prefill_seconds: f64, forecast_coverage: Option<Coverage>) -> Run {
        self.run.forecast_coverage = forecast_coverage;
        let quantile = |share| prefill_seconds + self.wait_quantile(share);
        self.run.ttft_seconds = Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) };
        self.run
    }

    fn wait_quantile(&self, share: f64) -> f64 {
        let wanted = share * (self.not_waiting + self.waits.iter().sum::<f64>());
        let mut seen = self.not_waiting;
        if seen >= wanted {
            return 0.0;
        }
        let class = self.waits.iter().position(|requests| {
            seen += requests;
            seen >= wanted
        });
        let class = class.unwrap_or(WAIT_CLASSES - 1) as f64;
        WAIT_RANGE.0 * ((class + 0.5) * class_width()).exp()
    }
}

fn class_width() -> f64 {
    (WAIT_RANGE.1 / WAIT_RANGE.0).ln() / WAIT_CLASSES as f64
}
