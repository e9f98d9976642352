//! Measured step times, kept by level of load.
//!
//! Each level keeps the mean of what was in a step and of how long it took; the step's formula is linear in both, so the
//! means of a level are worth all its samples. A level forgets only when it is seen again: a night at low load must not
//! erase what the day taught about high load.

use engine_model::{Batch, Fit, FitError, Observation, Prior, StepTime, Workload, fit};
use serde::{Deserialize, Serialize};

/// Levels to a doubling of the load.
const LEVELS_PER_DOUBLING: f64 = 2.0;

/// Weight that a level holds: two minutes of one engine looked at each two seconds.
const WINDOW: f64 = 60.0;

/// Weight below which nothing is said.
pub(crate) const ENOUGH: f64 = 4.0;

/// Weight from which an outlier can be told from a change.
const ENOUGH_TO_JUDGE: f64 = 10.0;

/// A sample further off than this, relative to what was expected, counts less in proportion (Huber).
const OUTLIER: f64 = 0.2;

/// Levels that weigh less than this are forgotten.
const NOTHING: f64 = 0.05;

/// Mean step times by level of load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence(Vec<Level>);

/// Sums over the samples of one level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Level {
    level: i32,
    weight: f64,
    sequences: f64,
    tokens: f64,
    context: f64,
    seconds: f64,
}

impl Evidence {
    /// Lets old samples fade.
    pub(crate) fn fade(&mut self, keep: f64) {
        for level in &mut self.0 {
            level.scale(keep);
        }
        self.0.retain(|level| level.weight > NOTHING);
    }

    pub(crate) fn weight(&self) -> f64 {
        self.0.iter().map(|level| level.weight).sum()
    }

    /// Takes in steps of `seconds` at `concurrency` requests of `workload`; `expected` is the fit so far.
    pub(crate) fn add(
        &mut self,
        concurrency: f64,
        workload: &Workload,
        seconds: f64,
        weight: f64,
        expected: Option<&StepTime>,
    ) {
        // Tokens came out, so at least one request ran while they did.
        let batch = Batch::steady(concurrency.max(1.0), workload);
        let mut weight = weight.min(WINDOW);
        if let Some(step) = expected.filter(|_| self.weight() >= ENOUGH_TO_JUDGE) {
            let off = (seconds / step.step_seconds(batch) - 1.0).abs();
            if off > OUTLIER {
                weight *= OUTLIER / off;
            }
        }
        let key = (LEVELS_PER_DOUBLING * batch.sequences.log2()).round() as i32;
        let place = match self.0.binary_search_by_key(&key, |level| level.level) {
            Ok(place) => place,
            Err(place) => {
                let none = Level { level: key, weight: 0.0, sequences: 0.0, tokens: 0.0, context: 0.0, seconds: 0.0 };
                self.0.insert(place, none);
                place
            }
        };
        let level = &mut self.0[place];
        level.scale(1.0 - weight / WINDOW);
        level.weight += weight;
        level.sequences += weight * batch.sequences;
        level.tokens += weight * batch.tokens;
        level.context += weight * batch.context_tokens;
        level.seconds += weight * seconds;
    }

    /// The parameters that explain the samples, held by `prior` where they say nothing.
    pub(crate) fn fit(&self, prior: &Prior) -> Result<Fit, FitError> {
        let observations: Vec<Observation> =
            self.0.iter().filter(|level| level.weight > NOTHING).map(Level::observation).collect();
        fit(&observations, Some(prior))
    }
}

impl Level {
    fn scale(&mut self, keep: f64) {
        for sum in [&mut self.weight, &mut self.sequences, &mut self.tokens, &mut self.context, &mut self.seconds] {
            *sum *= keep;
        }
    }

    fn observation(&self) -> Observation {
        let mean = |sum: f64| sum / self.weight;
        let batch =
            Batch { sequences: mean(self.sequences), tokens: mean(self.tokens), context_tokens: mean(self.context) };
        Observation::step(batch, mean(self.seconds)).times(self.weight)
    }
}
