//! Experiments: policies against one trace, every seed, queue and level, tuned or not.
//!
//! ```text
//! trace ─▶ scale (mean demand) ─▶ demand of each seed ─▶ fluid: settings tried, one chosen ─▶ rows
//!                                                     ─▶ events: policies warmed in fluid while training ─▶ rows
//! ```

mod days;
mod events;
mod fluid;
mod frontier;
mod resumed;
mod setup;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use autoscaler_sim::bootstrap::{self, Interval};
use autoscaler_sim::fluid::{Block, FluidSettings, Run, Scenario, Steps};
use autoscaler_sim::{Demand, Discipline, Level, Outcome, Stretch, Task};

pub use days::EventDays;
pub use frontier::{Point, cheapest, lower_hull, matched_cost};
pub use setup::{Experiment, Tuning};

use crate::error::LabError;
use crate::parallel;
use crate::policies::{Choice, OwnSetup};
use crate::progress::Progress;
use crate::recurring::{day_autocorrelation, is_recurring};
use crate::scale::scale;
use crate::trace::{ScaledTrace, Trace};

/// Step of the fluid simulator.
pub const STEP_SECONDS: f64 = 10.0;
/// What is scored has at least two steps.
const LEAST_SCORED_SECONDS: f64 = 2.0 * STEP_SECONDS;
/// A shorter trace is scored from its begin: three days of training would leave too little.
const LEAST_SECONDS_TO_TRAIN: f64 = 4.0 * 86_400.0;
/// Most replicas, as a multiple of the largest demand, when nothing else is said. Some laws multiply while replicas start;
/// in life a quota ends that.
const MOST_OVER_PEAK: f64 = 2.0;
/// Fewest of that: at a small load chance decides how large the peak is.
const LEAST_QUOTA: f64 = 10.0;

/// One run with what tables and reports show beside its [`Outcome`].
#[derive(Debug, Clone)]
pub struct Row {
    /// The line of output.
    pub outcome: Outcome,
    /// Setting of the knobs in words.
    pub setting: String,
    /// Whether the setting was chosen because it keeps the target; false when none does and the nearest is shown.
    pub is_on_target: bool,
    /// Whether it knows the future.
    pub is_clairvoyant: bool,
    /// 95 % interval of times OPT, from day blocks.
    pub times_opt_interval: Option<Interval>,
    /// 95 % interval of the overflow, from day blocks.
    pub overflow_interval: Option<Interval>,
    /// Cost and miss of every setting tried, as times OPT and shares, over the time that is scored; of the first seed.
    pub frontier: Vec<Point>,
    /// Times OPT at exactly the target, interpolated on the hull of the settings; only in hindsight.
    pub matched_times_opt: Option<f64>,
    /// Days of the scored time, at level fluid.
    pub days: Vec<Block>,
    /// Hours of it.
    pub hours: Vec<Block>,
    /// Every step, if it was asked for.
    pub steps: Option<Steps>,
}

/// What came of an experiment.
#[derive(Debug, Clone)]
pub struct Results {
    /// Name of the trace.
    pub trace: String,
    /// Its length in seconds.
    pub duration_seconds: f64,
    /// Factor on its rates.
    pub factor: f64,
    /// Training before the score, in seconds.
    pub train_seconds: f64,
    /// Correlation of the load with itself a day before.
    pub day_autocorrelation: Option<f64>,
    /// Whether the trace counts as recurring.
    pub is_recurring: bool,
    /// What policies were told.
    pub task: Task,
    /// Demand with the first seed.
    pub demand: Demand,
    /// Schedule of the optimum for it.
    pub optimum: Vec<u32>,
    /// Cost of the optimum that may miss what the attainment allows, over that of the one without misses.
    pub optimum_with_misses: Option<f64>,
    /// What is scored at level fluid.
    pub scored: Stretch,
    /// What is scored at level events.
    pub windows: Vec<Stretch>,
    /// In order of level, queue, policy and seed.
    pub rows: Vec<Row>,
    /// What a reader should know: settings that keep no target, training left out.
    pub notes: Vec<String>,
}

/// A trace at its factor with the demand of each seed: the slow part, the same for all experiments with the same engine,
/// mean demand and seeds.
#[derive(Debug)]
pub struct Prepared {
    source: ScaledTrace,
    demands: Vec<Demand>,
    /// Settings tried at level fluid, by all that their result depends on.
    tried: Mutex<HashMap<String, Arc<Vec<fluid::Tried>>>>,
    /// Runs of ours at level fluid, over all that is scored, by all that they depend on.
    runs: Mutex<HashMap<String, Arc<Run>>>,
}

impl Prepared {
    /// Factor on the rates of the trace.
    pub(crate) fn factor(&self) -> f64 {
        self.source.factor()
    }
}

/// All that a run needs beside its policy.
pub(crate) struct Ground<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) name: &'a str,
    pub(crate) source: &'a ScaledTrace,
    pub(crate) task: Task,
    /// One for each seed.
    pub(crate) demands: &'a [Demand],
    tried: &'a Mutex<HashMap<String, Arc<Vec<fluid::Tried>>>>,
    runs: &'a Mutex<HashMap<String, Arc<Run>>>,
    pub(crate) train_seconds: f64,
    /// What is scored: all after training, or the window.
    pub(crate) scored: Stretch,
}

impl Ground<'_> {
    fn setup(&self, queue: Discipline) -> OwnSetup<'_> {
        OwnSetup {
            task: &self.task,
            queue,
            season_seconds: self.experiment.season_seconds,
            tempo: self.experiment.tempo,
            step_seconds: STEP_SECONDS,
            decisions: None,
        }
    }

    fn settings(&self, queue: Discipline, seed: u64, scored: Stretch) -> FluidSettings {
        FluidSettings {
            startup: self.experiment.startup,
            scored: Some(scored),
            seed,
            faults: self.experiment.faults.clone(),
            ..FluidSettings::new(self.experiment.startup.mean_seconds, queue)
        }
    }

    /// What the rows are scored on: half of it with [`Tuning::Tuned`].
    fn final_stretch(&self) -> Stretch {
        match self.experiment.tuning {
            Tuning::Tuned => Stretch { from_seconds: middle(self.scored), ..self.scored },
            Tuning::Defaults | Tuning::Hindsight => self.scored,
        }
    }

    fn remembered(&self, key: &str) -> Option<Arc<Vec<fluid::Tried>>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn remember(&self, key: String, tried: Vec<fluid::Tried>) -> Arc<Vec<fluid::Tried>> {
        let tried = Arc::new(tried);
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&tried));
        tried
    }
}

fn middle(stretch: Stretch) -> f64 {
    let middle = (stretch.from_seconds + stretch.to_seconds) / 2.0;
    // On an hour, so that no block of the score is cut.
    if middle - stretch.from_seconds > 7200.0 { (middle / 3600.0).round() * 3600.0 } else { middle }
}

/// Runs an experiment.
///
/// # Errors
/// If the trace has no requests or too many, a setting is out of range, the engine cannot keep the objective, or training
/// leaves nothing to score.
pub fn run(
    experiment: &Experiment,
    trace: &Trace,
    policies: &[Choice],
    progress: &Progress,
) -> Result<Results, LabError> {
    run_prepared(experiment, trace, &prepare(experiment, trace, progress)?, policies, progress)
}

/// Runs an experiment on a trace that was prepared, by this or by another experiment with the same engine, mean demand and
/// seeds.
///
/// # Errors
/// As [`run`].
pub fn run_prepared(
    experiment: &Experiment,
    trace: &Trace,
    prepared: &Prepared,
    policies: &[Choice],
    progress: &Progress,
) -> Result<Results, LabError> {
    let mut notes = Vec::new();
    let ground = ground(experiment, trace, prepared, &mut notes)?;
    let scenario = Scenario::new(
        &ground.demands[0],
        &ground.task,
        ground.settings(Discipline::Deadline, first_seed(experiment), ground.final_stretch()),
    )?;
    let optimum = scenario.optimum().to_vec();
    let free: f64 = optimum[scenario.scored_steps()].iter().map(|&n| f64::from(n)).sum::<f64>() * STEP_SECONDS;
    let optimum_with_misses =
        scenario.optimum_with_misses(1.0 - experiment.attainment).filter(|_| free > 0.0).map(|cost| cost / free);
    let mut rows = Vec::new();
    let mut windows = Vec::new();
    for level in &experiment.levels {
        match level {
            Level::Fluid => rows.extend(fluid::rows(&ground, policies, progress, &mut notes)?),
            Level::Events => {
                windows = days::windows(&ground);
                rows.extend(events::rows(&ground, policies, &windows, progress, &mut notes)?);
            }
        }
    }
    let scored = ground.final_stretch();
    let Ground { source, task, train_seconds, .. } = ground;
    Ok(Results {
        trace: trace.name().to_owned(),
        duration_seconds: trace.duration_seconds(),
        factor: source.factor(),
        train_seconds,
        day_autocorrelation: day_autocorrelation(trace),
        is_recurring: is_recurring(trace, train_seconds),
        task,
        demand: prepared.demands[0].clone(),
        optimum,
        optimum_with_misses,
        scored,
        windows,
        rows,
        notes,
    })
}

fn first_seed(experiment: &Experiment) -> u64 {
    experiment.seeds.first().copied().unwrap_or(1)
}

/// Scales a trace and computes the demand of each seed.
///
/// # Errors
/// If the trace has no requests, or too many at the mean demand that is asked for.
pub fn prepare(experiment: &Experiment, trace: &Trace, progress: &Progress) -> Result<Prepared, LabError> {
    let first = first_seed(experiment);
    progress.stage("requests", experiment.seeds.len() + 1);
    let scaled = scale(trace, experiment.mean_replicas, &experiment.engine, first, STEP_SECONDS)?;
    progress.done(2);
    let others = experiment.seeds.get(1..).unwrap_or_default();
    let others = parallel::map(experiment.threads, others.len(), |index| {
        let demand = Demand::from_requests(&scaled.source, others[index], STEP_SECONDS, &experiment.engine);
        progress.done(1);
        demand
    });
    let mut demands = vec![scaled.demand];
    for demand in others {
        demands.push(demand?);
    }
    Ok(Prepared { source: scaled.source, demands, tried: Mutex::default(), runs: Mutex::default() })
}

fn ground<'a>(
    experiment: &'a Experiment,
    trace: &'a Trace,
    prepared: &'a Prepared,
    notes: &mut Vec<String>,
) -> Result<Ground<'a>, LabError> {
    let duration = trace.duration_seconds();
    let mut train_seconds = experiment.train_seconds;
    if train_seconds > 0.0 && duration < LEAST_SECONDS_TO_TRAIN {
        notes.push(format!("{} is shorter than four days: scored from its begin, without training", trace.name()));
        train_seconds = 0.0;
    }
    let scored = experiment.window.unwrap_or(Stretch { from_seconds: train_seconds, to_seconds: duration });
    let scored = Stretch { to_seconds: scored.to_seconds.min(duration), ..scored };
    if duration < LEAST_SCORED_SECONDS {
        let trace = trace.name().to_owned();
        return Err(LabError::TooShort { trace, least_seconds: LEAST_SCORED_SECONDS });
    }
    if scored.to_seconds - scored.from_seconds < LEAST_SCORED_SECONDS {
        let (what, fix) = if experiment.window.is_some() {
            ("--window", "choose a window within the trace")
        } else {
            ("--train", "train for a shorter time")
        };
        return Err(LabError::NothingToScore { what, duration_hours: duration / 3600.0, fix });
    }
    let demand = &prepared.demands[0];
    let silent = || LabError::Silent { trace: trace.name().to_owned() };
    let workload = demand.mean_workload(experiment.engine.cached_share).ok_or_else(silent)?;
    let peak = demand.replicas.iter().copied().fold(0.0, f64::max);
    let most = ((peak * MOST_OVER_PEAK).clamp(LEAST_QUOTA, 1e6).ceil() as u32).max(experiment.min_replicas);
    let bounds = experiment.min_replicas..=experiment.max_replicas.unwrap_or(most);
    let task = Task::new(&experiment.engine, workload, experiment.attainment, experiment.startup.mean_seconds, bounds);
    if task.capacity.concurrency == 0 {
        let (prompt_tokens, output_tokens) = (workload.prompt_tokens, workload.output_tokens);
        return Err(LabError::OutOfReach { prompt_tokens, output_tokens });
    }
    let Prepared { source, demands, tried, runs } = prepared;
    Ok(Ground { experiment, name: trace.name(), source, task, demands, tried, runs, train_seconds, scored })
}

/// Intervals of a run's figures from its days.
fn intervals(days: &[Block], seed: u64) -> (Option<Interval>, Option<Interval>) {
    (bootstrap::interval(days, seed, Block::times_opt), bootstrap::interval(days, seed, Block::overflow))
}

#[cfg(test)]
pub(crate) mod tests;
