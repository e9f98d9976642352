//! The plan: how many replicas to have, from the demand so far, over the start-up time ahead.
//!
//! ```text
//! demand ─▶ Forecaster ─▶ Usage ─▶ layers at ten prices ─▶ shadows (price, gain, hold) ─▶ one of them, chosen by its record
//!        └▶ present ──────────────────────────────────────▶ shadows (gain, hold) ────────┘
//! ```
//!
//! One call a plan step. What it costs and misses is judged by replaying every shadow as it goes.

mod budget;
mod layers;
mod shadow;
mod steps;

pub(crate) use autoscaler_forecast::SEASONS_KEPT;
use autoscaler_forecast::{Forecast, Forecaster, Record, Rhythm};

use serde::{Deserialize, Serialize};

use budget::{Budget, Spent};
pub(crate) use layers::Sleepers;
use layers::{Horizon, Layers, Tables};
pub(crate) use shadow::ROUNDING;
use shadow::{FIRST, PRICES, Score, Setting, Shadow, ladder};
pub use steps::Rehearsed;
pub(crate) use steps::{MOST_GAP_STEPS, PlanState, Starts, missed, step_at};

/// The plan for one target.
#[derive(Debug, Clone)]
pub struct Planner {
    rhythm: Rhythm,
    forecaster: Forecaster,
    layers: Vec<Layers>,
    ladder: Vec<Setting>,
    /// One for each setting of the ladder.
    shadows: Vec<Shadow>,
    tables: Tables,
    budget: Budget,
    rung: usize,
    holds: Vec<usize>,
}

/// What the plan says for the step that begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Replicas to have.
    pub replicas: u32,
    /// Price of a missing replica that the chosen shadow pays; none if it follows the present.
    pub price: Option<f64>,
    /// Its gain.
    pub gain: f64,
    /// Its hold, in seconds.
    #[serde(alias = "hold_seconds")]
    pub hold_seconds: f64,
    /// Share of demand that may be missed just now.
    pub goal: f64,
    /// Largest demand within one start-up time.
    pub forecast: Forecast,
}

impl Planner {
    /// A plan that begins before step `next` with so many replicas.
    #[must_use]
    pub fn new(rhythm: Rhythm, next: u64, replicas: u32) -> Self {
        let ladder = ladder();
        Self {
            rhythm,
            forecaster: Forecaster::new(rhythm, next),
            layers: PRICES.iter().map(|price| Layers::new(*price, replicas)).collect(),
            shadows: vec![Shadow::default(); ladder.len()],
            tables: Tables::default(),
            budget: Budget::new(&rhythm),
            rung: FIRST,
            holds: ladder.iter().map(|setting| rhythm.minutes(setting.hold_minutes)).collect(),
            ladder,
        }
    }

    /// The forecaster inside.
    #[must_use]
    pub fn forecaster(&self) -> &Forecaster {
        &self.forecaster
    }

    /// Plan steps that were ever settled, before a restart too.
    pub(crate) fn steps_seen(&self) -> usize {
        self.budget.spent().steps
    }

    /// Takes the demand of the step that has ended, and what of it was missed in truth, both in replicas. With
    /// `fifo_slack_seconds`, demand is missed while the queue is longer than that.
    pub fn settle(&mut self, demand: f64, missed: f64, fifo_slack_seconds: Option<f64>) {
        let slack_steps = fifo_slack_seconds.map(|seconds| seconds / self.rhythm.step_seconds());
        for shadow in &mut self.shadows {
            shadow.settle(demand, slack_steps);
        }
        self.budget.settle(demand, missed);
        self.forecaster.push(demand);
    }

    /// The longest time that a shadow holds what it once wanted, in steps.
    pub(crate) fn longest_hold(&self) -> usize {
        self.holds.iter().copied().max().unwrap_or(0)
    }

    /// Counts steps from here on, so that choices fall on the steps on which they fell before a restart.
    pub(crate) fn begin_at(&mut self, steps: usize) {
        self.budget.begin_at(steps);
    }

    /// Takes in demand of long ago, which no plan has to be made for any more.
    pub(crate) fn recall(&mut self, demand: f64, startup_steps: usize) {
        self.forecaster.recall(demand, startup_steps);
    }

    /// Plans for the step that begins: never less than `least`, with a share of `allowed_miss` of the demand to miss.
    pub fn plan(&mut self, startup_steps: usize, least: u32, allowed_miss: f64) -> Planned {
        self.plan_with(startup_steps, None, least, allowed_miss)
    }

    /// The same with engines that sleep.
    pub(crate) fn plan_with(
        &mut self,
        startup_steps: usize,
        sleepers: Option<Sleepers>,
        least: u32,
        allowed_miss: f64,
    ) -> Planned {
        let step = self.forecaster.history().next();
        let horizon = Horizon { usage: self.forecaster.look(startup_steps), startup_steps, sleepers };
        let mut on = [0; PRICES.len()];
        for (on, layers) in on.iter_mut().zip(&mut self.layers) {
            *on = layers.step(&horizon, &mut self.tables);
        }
        let present = self.forecaster.present();
        for ((shadow, setting), hold) in self.shadows.iter_mut().zip(&self.ladder).zip(&self.holds) {
            let wanted = setting.wanted(&on, present);
            // A shadow that wants no more than can be woken has it as soon.
            let woken = sleepers.filter(|sleepers| shadow.replicas.max(wanted) as usize <= sleepers.reach);
            let start = woken.map_or(startup_steps, |sleepers| sleepers.wake_steps);
            shadow.plan(step, wanted, *hold, start, least);
        }
        if let Some(rung) = self.budget.choose(allowed_miss, self.rung, &mut self.shadows) {
            self.rung = rung;
        }
        let setting = self.ladder[self.rung];
        Planned {
            replicas: self.shadows[self.rung].replicas,
            price: setting.price(),
            gain: setting.gain,
            hold_seconds: self.holds[self.rung] as f64 * self.rhythm.step_seconds(),
            goal: self.budget.goal(),
            forecast: *self.forecaster.forecast(),
        }
    }
}

/// What is worth keeping of a plan over a restart: the records, not the demand they were made on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Saved {
    record: Record,
    scores: Vec<Score>,
    /// What has come since the scores were last folded.
    #[serde(default)]
    fresh: Vec<Score>,
    budget: Spent,
    rung: usize,
}

impl Saved {
    /// Plan steps that the record spans.
    fn steps(&self) -> usize {
        self.budget.steps
    }
}

impl Planner {
    fn save(&self) -> Saved {
        Saved {
            record: self.forecaster.record().clone(),
            scores: self.shadows.iter().map(|shadow| shadow.score).collect(),
            fresh: self.shadows.iter().map(|shadow| shadow.fresh).collect(),
            budget: self.budget.spent().clone(),
            rung: self.rung,
        }
    }

    /// Takes up the records of an earlier run; those of another ladder are of no use.
    fn restore(&mut self, saved: &Saved) {
        self.forecaster.restore(saved.record.clone());
        if saved.scores.len() == self.shadows.len() && saved.rung < self.shadows.len() {
            for (shadow, score) in self.shadows.iter_mut().zip(&saved.scores) {
                shadow.score = *score;
            }
            for (shadow, fresh) in self.shadows.iter_mut().zip(&saved.fresh) {
                shadow.fresh = *fresh;
            }
            self.budget.restore(saved.budget.clone());
            self.rung = saved.rung;
        }
    }
}
