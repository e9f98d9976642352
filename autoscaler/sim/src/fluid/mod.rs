//! The fluid simulator: demand against Ready replicas, step by step, with the state of the queue.
//!
//! ```text
//! decide (at the start of a step, on signals up to it) ─▶ fleet: orders, releases ─▶ Ready replicas in the step
//! demand of the step ─▶ queue: backlog, waits, requests that miss ─▶ gauges: what monitoring shows next
//!                                                                ─▶ record: bills and misses, hour by hour
//! ```
//!
//! A fortnight in steps of ten seconds takes some milliseconds. What the fluid does not know: single requests, batches,
//! prefix caches, drain (work of a released replica stays in the demand and is served by the others).

mod fleet;
mod gauges;
mod mix;
mod queue;
mod record;

use fleet::Fleet;
use gauges::Gauges;
use queue::Queue;
use record::Recorder;
pub use record::{Block, Run, Steps};

use crate::optimum;
use crate::{Demand, Discipline, Faults, SettingError, Starter, StartupLaw, Stretch, Task};
use crate::{Level, Outcome, Policy};

/// Length of the blocks that a run is scored by, in seconds.
pub const BLOCK_SECONDS: f64 = 3600.0;

/// Wait in the router's queue that ends in an error, in seconds: the router's default.
pub const QUEUE_DEADLINE_SECONDS: f64 = 30.0;

/// How a trace is played.
#[derive(Debug, Clone, PartialEq)]
pub struct FluidSettings {
    /// Time from order to Ready.
    pub startup: StartupLaw,
    /// Order of the queue.
    pub discipline: Discipline,
    /// What is scored; before and after it the policy acts unscored. `None`: the whole trace.
    pub scored: Option<Stretch>,
    /// Seed of start-up times and failures.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Requests that have waited in the queue for so long end with an error, in seconds; infinite: none does.
    pub queue_deadline_seconds: f64,
    /// Ready replicas at the start of the trace; `None`: the mean demand, rounded up.
    pub first_replicas: Option<u32>,
    /// Whether to keep the series of every step, for plots.
    pub keep_steps: bool,
}

impl FluidSettings {
    /// Without faults, with a start-up that is always the same, all of the trace scored.
    #[must_use]
    pub const fn new(startup_seconds: f64, discipline: Discipline) -> Self {
        Self {
            startup: StartupLaw::fixed(startup_seconds),
            discipline,
            scored: None,
            seed: 0,
            faults: Faults { stock_outs: Vec::new(), failing_starts: Vec::new(), scrape_losses: Vec::new() },
            queue_deadline_seconds: QUEUE_DEADLINE_SECONDS,
            first_replicas: None,
            keep_steps: false,
        }
    }

    /// The same, scored from that second on.
    #[must_use]
    pub const fn scored_from(mut self, seconds: f64) -> Self {
        self.scored = Some(Stretch { from_seconds: seconds, to_seconds: f64::INFINITY });
        self
    }
}

/// A trace, a task and settings, ready to play policies against.
#[derive(Debug, Clone)]
pub struct Scenario<'a> {
    demand: &'a Demand,
    task: &'a Task,
    settings: FluidSettings,
    /// Schedule of the clairvoyant optimum.
    optimum: Vec<u32>,
    replica_seconds_per_request: f64,
}

impl<'a> Scenario<'a> {
    /// Checks the settings and computes the optimum, at the mean start-up time and within the bounds of the task.
    pub fn new(demand: &'a Demand, task: &'a Task, settings: FluidSettings) -> Result<Self, SettingError> {
        settings.startup.validate()?;
        let deadline = settings.queue_deadline_seconds;
        SettingError::check(deadline > 0.0, "queue deadline", deadline, "a number of seconds above 0, or infinite")?;
        let (least, most) = (task.min_replicas, task.max_replicas);
        SettingError::check(least <= most, "min replicas", f64::from(least), "at most the max replicas")?;
        let rate = task.capacity.requests_per_second;
        SettingError::check(rate.is_finite() && rate > 0.0, "capacity", rate, "requests a second, above 0")?;
        let mut need = optimum::need(&demand.replicas, 1.0);
        need.iter_mut().for_each(|replicas| *replicas = (*replicas).clamp(least, most));
        let optimum = optimum::schedule(&need, demand.steps_in(settings.startup.mean_seconds));
        let replica_seconds_per_request = demand.replica_seconds_per_request().unwrap_or(1.0 / rate);
        Ok(Self { demand, task, settings, optimum, replica_seconds_per_request })
    }

    /// Replicas that the optimum without misses holds at each step.
    #[must_use]
    pub fn optimum(&self) -> &[u32] {
        &self.optimum
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &FluidSettings {
        &self.settings
    }

    /// Steps that are scored.
    #[must_use]
    pub fn scored_steps(&self) -> std::ops::Range<usize> {
        let steps = self.demand.replicas.len();
        self.settings.scored.map_or(0..steps, |scored| {
            let to = if scored.to_seconds.is_finite() { self.demand.steps_in(scored.to_seconds) } else { steps };
            let to = to.min(steps);
            self.demand.steps_in(scored.from_seconds).min(to)..to
        })
    }

    /// Engine-seconds of the optimum that may miss a share of the scored demand; see [`optimum::with_misses`].
    #[must_use]
    pub fn optimum_with_misses(&self, allowed_share: f64) -> Option<f64> {
        let scored = &self.demand.replicas[self.scored_steps()];
        let startup = self.demand.steps_in(self.settings.startup.mean_seconds);
        optimum::with_misses(scored, startup, allowed_share).map(|found| found.replica_steps * self.demand.step_seconds)
    }

    /// Plays one policy.
    pub fn run(&self, policy: &mut dyn Policy) -> Run {
        let (demand, task, faults) = (self.demand, self.task, &self.settings.faults);
        let dt = demand.step_seconds;
        let steps = demand.replicas.len();
        let first = self.settings.first_replicas.unwrap_or_else(|| demand.mean_replicas().ceil() as u32);
        // `new` has validated the law, the only thing that can be refused here.
        let Ok(starter) = Starter::new(self.settings.startup, self.settings.seed) else { return Run::default() };
        let mut fleet = Fleet::new(first.clamp(task.min_replicas, task.max_replicas), starter);
        let (discipline, deadline) = (self.settings.discipline, self.settings.queue_deadline_seconds);
        let mut queue = Queue::new(discipline, task, self.replica_seconds_per_request, deadline, dt);
        let mut gauges = Gauges::new(task, self.demand, discipline, !faults.scrape_losses.is_empty());
        let mut record = Recorder::new(self.scored_steps(), steps, dt, self.settings.keep_steps);
        let period = Some(policy.period_seconds()).filter(|period| *period > dt).unwrap_or(dt);
        // The first decision comes after a period: before, nothing has been seen.
        let (mut next_decision, mut last_decision) = (period, 0.0);
        for step in 0..steps {
            let now = step as f64 * dt;
            fleet.promote(now);
            if now >= next_decision - 1e-6 {
                let signals = gauges.read(now, now - last_decision, &fleet, !faults.is_scrape_lost(now));
                let wanted = policy.decide(&signals).clamp(task.min_replicas, task.max_replicas);
                let change = fleet.scale_to(wanted, now);
                record.take_change(step, now, change);
                last_decision = now;
                next_decision += period;
            }
            record.take_failures(step, fleet.give_machines(now, faults));
            let ready = fleet.ready_within(now, dt);
            let served = queue.serve(demand.replicas[step], demand.arrivals[step], ready, dt);
            gauges.advance(demand, step, ready, &served);
            record.take_step(step, fleet.billed(), self.optimum[step], demand, ready, &served);
        }
        record.finish(task.capacity.ttft_seconds, policy.coverage())
    }

    /// A run as a line of output. `tuned` says how the knobs were set, `trace` names the trace.
    #[must_use]
    pub fn outcome(&self, run: &Run, policy: &str, tuned: &str, trace: &str) -> Outcome {
        let total = run.total();
        let seconds = run.scored_seconds.max(f64::MIN_POSITIVE);
        Outcome {
            policy: policy.to_owned(),
            tuned: tuned.to_owned(),
            trace: trace.to_owned(),
            level: Level::Fluid,
            queue: self.settings.discipline,
            seed: self.settings.seed,
            startup_seconds: self.settings.startup.mean_seconds,
            requests: total.requests,
            attainment: total.attainment(),
            attainment_worst_hour: run.worst_attainment(),
            overflow: total.overflow(),
            engine_seconds: total.engine_seconds,
            opt_engine_seconds: total.opt_engine_seconds,
            times_opt: total.times_opt(),
            mean_replicas: total.engine_seconds / seconds,
            ttft_seconds: run.ttft_seconds,
            starts: total.starts,
            starts_wasted: total.starts_wasted,
            reversals_per_day: run.reversals as f64 / (seconds / 86_400.0),
            forecast_coverage: run.forecast_coverage,
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests;
