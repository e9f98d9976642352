//! The self-score: what was paid, against what a clairvoyant plan would have paid for the same demand.
//!
//! The optimum must hold at step `t` the largest need of `[t, t + startup]`, and to hold exactly that is feasible. So a step
//! is scored one start-up time after it has passed, and only so many steps wait. Their sums are kept in blocks, a quarter of
//! a season each, over the last seven seasons: memory is bounded, and old days fall out of the score.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::Settings;
use crate::planner::step_at;
use crate::startup::Startup;

/// The score covers so many seasons, in blocks of this share of one.
const WINDOW_SEASONS: f64 = 7.0;
const BLOCK_SEASONS: f64 = 1.0 / 4.0;

/// Most steps that wait for their future: a longer start-up time is scored as if it were this long. Eleven hours at 10 s.
const MOST_PENDING: usize = 4096;

/// A hair above a whole number of replicas is a rounding error of the sum that demand is.
const ROUNDING: f64 = 1e-9;

/// What was paid and missed over the time that is scored. Everything in replica-seconds but `seconds`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Seconds that are scored, at most seven seasons.
    pub seconds: f64,
    /// Replicas billed, from order to end.
    pub billed_replica_seconds: f64,
    /// What the cheapest plan that knows the future and misses nothing would have been billed, within the same bounds.
    pub optimum_replica_seconds: f64,
    /// Demand.
    pub demand_replica_seconds: f64,
    /// Demand that found no replica in time.
    pub missed_replica_seconds: f64,
}

impl Score {
    /// What was billed beyond the optimum, as a share of the optimum; 0 is as good as knowing the future. Below 0 when less
    /// was held than it takes to miss nothing. `None` before anything was billed for.
    #[must_use]
    pub fn regret_ratio(&self) -> Option<f64> {
        (self.optimum_replica_seconds > 0.0).then(|| self.billed_replica_seconds / self.optimum_replica_seconds - 1.0)
    }

    /// Share of the demand that was missed, 0 to 1; 0 without demand.
    #[must_use]
    pub fn missed_share(&self) -> f64 {
        if self.demand_replica_seconds > 0.0 { self.missed_replica_seconds / self.demand_replica_seconds } else { 0.0 }
    }
}

/// One control period.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Period {
    /// Replicas ordered, those that end their streams, and those that sleep at their price: all are paid for.
    pub(crate) billed: f64,
    /// Demand in replicas.
    pub(crate) demand: f64,
    /// What of it finds no replica, in replicas.
    pub(crate) missed: f64,
}

/// What is remembered for the score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreState {
    open: Option<Open>,
    /// Steps whose future is not known yet, the last of them being that before `open`.
    pending: VecDeque<Step>,
    blocks: VecDeque<Block>,
}

/// The plan step that goes on, with time integrals over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    step: u64,
    seconds: f64,
    billed: f64,
    demand: f64,
    missed: f64,
}

/// A step that has ended: whole replicas that it needed, and means over it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Step {
    need: u32,
    billed: f64,
    demand: f64,
    missed: f64,
}

/// Sums of scored steps, in replica-steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Block {
    steps: u64,
    optimum: f64,
    billed: f64,
    demand: f64,
    missed: f64,
}

impl ScoreState {
    /// Takes one control period, and returns the score so far; `None` until the first step was scored.
    pub(crate) fn advance(
        &mut self,
        settings: &Settings,
        startup: &Startup,
        period: Period,
        now: Timestamp,
    ) -> Option<Score> {
        let step_seconds = settings.rhythm.step_seconds();
        let step = step_at(&settings.rhythm, now);
        if let Some(open) = self.open.filter(|open| step != open.step) {
            self.open = None;
            self.close(open, step, settings, startup);
        }
        let open = self.open.get_or_insert_with(|| Open { step, ..Open::default() });
        let seconds = settings.control_period_seconds;
        open.seconds += seconds;
        open.billed += period.billed * seconds;
        open.demand += period.demand * seconds;
        open.missed += period.missed * seconds;
        self.score(step_seconds)
    }

    /// Ends a step, and scores those whose start-up time has passed since.
    fn close(&mut self, open: Open, next: u64, settings: &Settings, startup: &Startup) {
        let mean = |sum: f64| if open.seconds > 0.0 { sum / open.seconds } else { 0.0 };
        let demand = mean(open.demand);
        let need = (demand - ROUNDING).ceil().clamp(f64::from(settings.min_replicas), f64::from(settings.max_replicas));
        let ended = Step { need: need as u32, billed: mean(open.billed), demand, missed: mean(open.missed) };
        // What the optimum looks ahead over is how long a start takes, not how long the plan fears it may take.
        let startup_steps = settings.rhythm.steps(startup.p50_seconds).min(MOST_PENDING - 1);
        let passed = usize::try_from(next.saturating_sub(open.step)).unwrap_or(usize::MAX);
        if passed == 0 || passed > startup_steps + 1 {
            // The clock was set, or nobody looked for longer than a start takes: what came then is not known.
            self.pending.clear();
            return;
        }
        for _ in 0..passed {
            self.pending.push_back(ended);
        }
        while self.pending.len() > startup_steps {
            // The window of step t is t and the start-up that follows it.
            let optimum = self.pending.iter().take(startup_steps + 1).map(|step| step.need).max().unwrap_or(0);
            if let Some(step) = self.pending.pop_front() {
                self.add(step, optimum, settings);
            }
        }
    }

    fn add(&mut self, step: Step, optimum: u32, settings: &Settings) {
        let block_steps = settings.rhythm.seasons(BLOCK_SEASONS) as u64;
        if self.blocks.back().is_none_or(|block| block.steps >= block_steps) {
            self.blocks.push_back(Block::default());
            if self.blocks.len() > (WINDOW_SEASONS / BLOCK_SEASONS) as usize {
                self.blocks.pop_front();
            }
        }
        if let Some(block) = self.blocks.back_mut() {
            block.steps += 1;
            block.optimum += f64::from(optimum);
            block.billed += step.billed;
            block.demand += step.demand;
            block.missed += step.missed;
        }
    }

    fn score(&self, step_seconds: f64) -> Option<Score> {
        let sum = |of: fn(&Block) -> f64| self.blocks.iter().map(of).sum::<f64>() * step_seconds;
        let score = Score {
            seconds: sum(|block| block.steps as f64),
            billed_replica_seconds: sum(|block| block.billed),
            optimum_replica_seconds: sum(|block| block.optimum),
            demand_replica_seconds: sum(|block| block.demand),
            missed_replica_seconds: sum(|block| block.missed),
        };
        (score.seconds > 0.0).then_some(score)
    }
}

#[cfg(test)]
mod tests;
