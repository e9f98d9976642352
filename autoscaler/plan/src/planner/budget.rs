//! The budget of misses, and the shadow that keeps within it at the least cost.

use std::collections::VecDeque;

use autoscaler_forecast::Rhythm;
use serde::{Deserialize, Serialize};

use super::shadow::{Score, Shadow};

/// The choice is made so many times a season.
const CHOICES: f64 = 24.0;

/// Before this share of a season has passed there is no record to choose by.
const UNTRIED: f64 = 1.0 / 12.0;

/// A shadow's record fades over this share of the seasons seen, for the first of them were planned by a forecast that had
/// learned nothing: at least over this share of the account's, and over seven at most.
const MEMORY_SHARE: f64 = 1.0 / 3.0;
const LEAST_MEMORY_OF_ACCOUNT: f64 = 0.125;
const MOST_MEMORY_SEASONS: f64 = 7.0;

/// What was saved or overdrawn is to be spent or regained within the demand of so many seasons.
const CARRY_SEASONS: f64 = 1.0;

/// The account of what was saved or overdrawn fades: what was missed while there was nothing to learn from need not be earned
/// back for ever. It spans so many seasons over the share that may be missed, for the rarer misses are, the more seasons it
/// takes to see a few of them: two seasons at 1 %, twenty at 0.1 %.
const ACCOUNT_SEASONS_TIMES_ALLOWED: f64 = 0.02;
const LEAST_ACCOUNT_SEASONS: f64 = 1.0;
const MOST_ACCOUNT_SEASONS: f64 = 28.0;

/// For each season of the account, aim below what is allowed by this share of it: the longer it takes to see that too much was
/// missed, the less the plan may rely on the record.
const CAUTION: f64 = 0.0175;

/// And by this share of it in any case: what late requests are in demand is known to some hundredths.
const RESERVE: f64 = 0.02;

/// The goal is at least this share of what is allowed, and exceeds it by at most one over the seasons of the account: what was
/// saved is spent over as long as it took to know of it.
const LEAST_GOAL: f64 = 0.5;

/// Shadows are believed to be too pessimistic or too optimistic by these factors at most, and not at all while truth and
/// shadow both miss less than this share of what a season allows.
const LEAST_OPTIMISM: f64 = 0.5;
const MOST_OPTIMISM: f64 = 20.0;
const DOUBT: f64 = 0.2;

/// Exchange rates of cost for misses that are tried, from lean to lavish: up to about half a replica-step for each share of the
/// demand that may be missed. What is missed beyond that is better missed: no plan could have foreseen it.
const LEAST_RATE: f64 = 0.5;
const MOST_RATE_OF_ALLOWED: f64 = 0.485;
const RATES: i32 = 40;

/// The highest rate grows by this with each season of the account.
const RATE_GROWTH: f64 = 0.0125;

/// Misses and demand so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spent {
    pub(super) steps: usize,
    demand: f64,
    missed: f64,
    fresh_demand: f64,
    fresh_missed: f64,
    scored_demand: f64,
    /// What was missed lately in truth, and what the chosen shadows thought would be.
    missed_in_truth: f64,
    missed_in_shadow: f64,
    /// Demand of the last season, by choice.
    lately: VecDeque<f64>,
    goal: f64,
}

/// The budget of misses.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    every: usize,
    untried: usize,
    feeds_back: bool,
    spent: Spent,
}

impl Budget {
    pub(crate) fn new(rhythm: &Rhythm) -> Self {
        Self {
            every: rhythm.seasons(1.0 / CHOICES),
            untried: rhythm.seasons(UNTRIED),
            feeds_back: rhythm.feeds_back(),
            spent: Spent::default(),
        }
    }

    /// What is worth keeping over a restart.
    pub(crate) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Begins as if so many steps had been settled: choices are made at the same steps as before.
    pub(crate) fn begin_at(&mut self, steps: usize) {
        self.spent.steps = steps;
    }

    /// Takes up what an earlier run kept.
    pub(crate) fn restore(&mut self, spent: Spent) {
        self.spent = spent;
    }

    /// Takes one step's demand and what of it was missed.
    pub(crate) fn settle(&mut self, demand: f64, missed: f64) {
        self.spent.steps += 1;
        self.spent.demand += demand;
        self.spent.missed += missed;
        self.spent.fresh_demand += demand;
        self.spent.fresh_missed += missed;
    }

    /// Share of demand that may be missed just now.
    pub(crate) fn goal(&self) -> f64 {
        self.spent.goal
    }

    /// At the time of a choice: folds the shadows' scores and returns the one to act on.
    pub(crate) fn choose(&mut self, allowed: f64, present: usize, shadows: &mut [Shadow]) -> Option<usize> {
        if self.spent.steps == 0 || !self.spent.steps.is_multiple_of(self.every) {
            return None;
        }
        let keep = (-1.0 / CHOICES).exp();
        let thought = shadows.get(present).map_or(0.0, |shadow| shadow.fresh.missed);
        self.spent.missed_in_shadow = self.spent.missed_in_shadow * keep + thought;
        self.spent.missed_in_truth = self.spent.missed_in_truth * keep + std::mem::take(&mut self.spent.fresh_missed);
        // What every shadow missed no plan on this ladder could have kept: it tells nothing of which is better.
        let unavoidable = shadows.iter().map(|shadow| shadow.fresh.missed).fold(f64::INFINITY, f64::min);
        let account =
            (ACCOUNT_SEASONS_TIMES_ALLOWED / allowed.max(1e-6)).clamp(LEAST_ACCOUNT_SEASONS, MOST_ACCOUNT_SEASONS);
        let seasons_seen = self.spent.steps as f64 / (self.every as f64 * CHOICES);
        let memory = (MEMORY_SHARE * seasons_seen).max(LEAST_MEMORY_OF_ACCOUNT * account).min(MOST_MEMORY_SEASONS);
        let keep_score = (-1.0 / (CHOICES * memory)).exp();
        for shadow in shadows.iter_mut() {
            let fresh = std::mem::take(&mut shadow.fresh);
            let fresh = Score { missed: fresh.missed - unavoidable, ..fresh };
            shadow.score.cost = shadow.score.cost * keep_score + fresh.cost;
            shadow.score.missed = shadow.score.missed * keep_score + fresh.missed;
        }
        self.spent.scored_demand = self.spent.scored_demand * keep_score + self.spent.fresh_demand;
        self.spent.lately.push_back(std::mem::take(&mut self.spent.fresh_demand));
        if self.spent.lately.len() > CHOICES as usize {
            self.spent.lately.pop_front();
        }
        if self.spent.steps < self.untried || self.spent.scored_demand <= 0.0 {
            return None;
        }
        let fade = (-1.0 / (CHOICES * account)).exp();
        self.spent.demand *= fade;
        self.spent.missed *= fade;
        let season = CHOICES * self.spent.lately.iter().sum::<f64>() / self.spent.lately.len() as f64;
        let aim = (1.0 - RESERVE - CAUTION * account) * allowed;
        let saved = aim * self.spent.demand - self.spent.missed;
        let carry = if season > 0.0 && self.feeds_back { saved / (CARRY_SEASONS * season) } else { 0.0 };
        self.spent.goal = (aim + carry).clamp(LEAST_GOAL * allowed, (1.0 + 1.0 / account) * allowed);
        let optimism = if self.feeds_back { self.optimism(allowed * season) } else { 1.0 };
        let most_rate = ((MOST_RATE_OF_ALLOWED + RATE_GROWTH * account) / allowed.max(1e-6)).max(LEAST_RATE);
        let growth = (most_rate / LEAST_RATE).powf(1.0 / f64::from(RATES - 1));
        let mut chosen = 0;
        for step in 0..RATES {
            let rate = LEAST_RATE * growth.powi(step);
            let price = |shadow: &Shadow| shadow.score.cost + rate * shadow.score.missed;
            chosen = (0..shadows.len()).min_by(|a, b| price(&shadows[*a]).total_cmp(&price(&shadows[*b]))).unwrap_or(0);
            if optimism * shadows[chosen].score.missed / self.spent.scored_demand <= self.spent.goal {
                break;
            }
        }
        Some(chosen)
    }

    /// How many times more was missed than the shadows thought: a reactive floor that helped, a capacity that is believed too
    /// high, or chance within a plan step, none of which shadows see.
    fn optimism(&self, allowed_of_season: f64) -> f64 {
        // So little says nothing.
        let doubt = DOUBT * allowed_of_season;
        let ratio = (self.spent.missed_in_truth + doubt) / (self.spent.missed_in_shadow + doubt);
        if ratio.is_finite() { ratio.clamp(LEAST_OPTIMISM, MOST_OPTIMISM) } else { 1.0 }
    }
}
