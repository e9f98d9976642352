//! From control periods to plan steps: what each look saw is averaged over a plan step, and the plan made at its end.

mod rehearsal;

use std::collections::VecDeque;

use autoscaler_forecast::Rhythm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Planned, Planner, Saved};
use crate::capacity::Capacity;
use crate::decision::Demand;
use crate::demand_history::DemandHistory;
use crate::facts::{Queue, Settings};
use crate::look::Look;
use crate::pool::LayerUse;
use crate::standby::StandbyTier;
use crate::startup::Startup;
pub use rehearsal::Rehearsed;

/// Demand of so many plan steps is stored with the state: enough to continue after a restart until the history is back, and
/// for a shell that keeps the demand to have read it in time.
const STORED_STEPS: usize = 96;

/// Steps that nothing was decided in are filled with the last demand, up to so many; a longer gap starts anew.
pub(crate) const MOST_GAP_STEPS: u64 = 2160;

/// A clock that is set right moves back by less than this; one that moves by more begins a new count, or nothing would be
/// planned until it is where it was.
const MOST_STEPS_BACK: u64 = 30;

/// After a restart the plan lives again through so many start-up times before the longest hold.
const LIVED_STARTS: usize = 8;

/// Before so much of a season was seen, every burst looks like a habit: the reactive floor decides alone.
const INEXPERIENCED_SEASONS: f64 = 1.0 / 24.0;

/// First come, first served, the plan aims at this share of what may be missed: one overload more makes all late that wait
/// behind it, so what is missed comes in lumps.
const FIFO_SHARE_OF_ALLOWED: f64 = 0.75;

/// What is remembered of the plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanState {
    /// What all the rest is counted in: another one begins anew.
    #[serde(default)]
    rhythm: Option<Rhythm>,
    planned: Option<Planned>,
    open: Option<OpenStep>,
    /// Demand of the last steps, the last of them being that before `open`.
    recent: VecDeque<f32>,
    /// Replicas there were when the plan began.
    began_with: u32,
    saved: Option<Saved>,
    /// What is known of the days before, until the planner is made.
    #[serde(skip)]
    recalled: DemandHistory,
    #[serde(skip)]
    planner: Alive,
}

/// How replicas come to be Ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Starts<'a> {
    /// By a start.
    pub(crate) startup: &'a Startup,
    /// By waking one that sleeps, if any ever do.
    pub(crate) standby: Option<&'a StandbyTier>,
}

/// The planner itself is rebuilt after a restart, so it takes no part in comparisons of what is stored.
#[derive(Debug, Clone, Default)]
struct Alive(Option<(Rhythm, Box<Planner>)>);

impl PartialEq for Alive {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The plan step that goes on, with time integrals over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct OpenStep {
    step: u64,
    seconds: f64,
    demand: f64,
    missed: f64,
}

impl PlanState {
    /// Takes one look, with the demand that is [`missed`] in it, and plans when a plan step has ended. `None` before enough was
    /// seen, restarts included.
    pub(crate) fn advance(
        &mut self,
        settings: &Settings,
        demand: &Demand,
        missed: f64,
        look: &Look,
        starts: Starts<'_>,
        now: Timestamp,
    ) -> Option<Planned> {
        let rhythm = settings.rhythm;
        let step = step_at(&rhythm, now);
        let is_set_back = self.open.is_some_and(|open| open.step > step + MOST_STEPS_BACK);
        if is_set_back || self.rhythm.is_some_and(|of| of != rhythm) {
            *self = Self { recalled: std::mem::take(&mut self.recalled), ..Self::default() };
        }
        self.rhythm = Some(rhythm);
        if let Some(open) = self.open.filter(|open| step > open.step) {
            let terms = Terms::of(settings, starts.startup.p95_seconds);
            self.revive(rhythm, open.step, look.observed.ready + look.observed.starting, &terms);
            let (_, planner) = self.planner.0.as_mut()?;
            let mean = |sum: f64| if open.seconds > 0.0 { sum / open.seconds } else { 0.0 };
            // As it is kept, so that a restart lives through the same.
            let (demanded, lost) = (f64::from(mean(open.demand) as f32), mean(open.missed));
            if step - open.step > MOST_GAP_STEPS {
                self.saved = Some(planner.save());
                self.planner = Alive::default();
                self.recent.clear();
            } else {
                for _ in open.step..step {
                    planner.settle(demanded, lost, terms.fifo_slack_seconds);
                    self.recent.push_back(demanded as f32);
                }
                let drop = self.recent.len().saturating_sub(STORED_STEPS);
                self.recent.drain(..drop);
                let ready = look.observed.ready;
                let sleepers = starts.standby.map(|tier| tier.sleepers(ready, &rhythm, terms.startup_steps));
                let planned = planner.plan_with(terms.startup_steps, sleepers, terms.least, terms.allowed_miss);
                let is_experienced = planner.steps_seen() >= rhythm.seasons(INEXPERIENCED_SEASONS);
                self.planned = is_experienced.then_some(planned);
                self.saved = Some(planner.save());
            }
            self.open = None;
        }
        let open = self.open.get_or_insert_with(|| OpenStep { step, ..OpenStep::default() });
        let seconds = settings.control_period_seconds;
        open.seconds += seconds;
        open.demand += demand.replicas * seconds;
        open.missed += missed * seconds;
        self.planned
    }

    /// See [`crate::State::forecast_coverage`].
    pub(crate) fn coverage(&self) -> Option<(u64, [u64; 4])> {
        self.planner.0.as_ref().map(|(_, planner)| planner.forecaster().coverage())
    }

    /// Expected use of each replica, the first one first, as of the last plan; empty before one is acted on.
    pub(crate) fn layer_uses(&self) -> Vec<LayerUse> {
        let usage = self.planned.and(self.planner.0.as_ref()).map(|(_, planner)| planner.forecaster().usage());
        let Some(usage) = usage.filter(|usage| usage.points() > 0) else { return Vec::new() };
        let points = usage.points() as f64;
        let sum = |layer, from| (from..usage.points()).map(|point| usage.of(layer, point)).sum::<f64>();
        let layer =
            |layer| LayerUse { kept: sum(layer, 0) / points, ordered: sum(layer, usage.startup_points()) / points };
        (1..=usage.layers()).map(layer).collect()
    }

    /// See [`crate::State::demand_since`].
    pub(crate) fn demand_since(&self, step: u64) -> DemandHistory {
        let Some(open) = self.open else { return DemandHistory::default() };
        let first = open.step.saturating_sub(self.recent.len() as u64);
        let known = step.saturating_sub(first) as usize;
        DemandHistory { first_step: first.max(step), replicas: self.recent.iter().skip(known).copied().collect() }
    }

    /// See [`crate::State::recall`].
    pub(crate) fn recall(&mut self, kept: DemandHistory) {
        self.recalled = kept;
    }

    /// Makes the planner if it is not there: at the first step, after a restart, or with a new rhythm. After a restart it
    /// takes in the days before, and lives through the last steps again.
    fn revive(&mut self, rhythm: Rhythm, step: u64, replicas: u32, terms: &Terms) {
        if self.planner.0.as_ref().is_some_and(|(of, _)| *of == rhythm) {
            return;
        }
        let is_restart = self.planner.0.is_none() && self.saved.is_some() && self.recent.len() as u64 <= step;
        if !is_restart {
            self.began_with = replicas;
            self.recent.clear();
        }
        let recalled = std::mem::take(&mut self.recalled);
        let known = recalled.continued_by(self.recent.make_contiguous(), step);
        let mut planner = Planner::new(rhythm, known.first_step, self.began_with);
        // What any shadow wanted then, and holds until now, rests on what starts ordered before.
        let lived = planner.longest_hold() + LIVED_STARTS * terms.startup_steps;
        let lived = lived.max(self.recent.len());
        let (before, lately) = known.replicas.split_at(known.replicas.len().saturating_sub(lived));
        for demand in before {
            planner.recall(f64::from(*demand), terms.startup_steps);
        }
        let saved = self.saved.as_ref().filter(|_| is_restart);
        // Before, so that what is lived again weighs the experts as it did; and after, so that nothing is counted twice.
        if let Some(saved) = saved {
            planner.restore(saved);
            planner.begin_at(saved.steps().saturating_sub(lately.len()));
        }
        for demand in lately {
            planner.settle(f64::from(*demand), 0.0, terms.fifo_slack_seconds);
            planner.plan(terms.startup_steps, terms.least, terms.allowed_miss);
        }
        if let Some(saved) = saved {
            planner.restore(saved);
        }
        self.planner = Alive(Some((rhythm, Box::new(planner))));
    }
}

/// The plan step that a moment is in, counted from 1970.
pub(crate) fn step_at(rhythm: &Rhythm, now: Timestamp) -> u64 {
    (now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() / rhythm.step_seconds()).floor().max(0.0) as u64
}

/// What a plan is made under.
#[derive(Debug, Clone, Copy)]
struct Terms {
    startup_steps: usize,
    least: u32,
    allowed_miss: f64,
    fifo_slack_seconds: Option<f64>,
}

impl Terms {
    fn of(settings: &Settings, startup_seconds: f64) -> Self {
        let allowed_miss = 1.0 - settings.objective.attainment;
        Self {
            startup_steps: settings.rhythm.steps(startup_seconds),
            least: settings.min_replicas.min(1),
            allowed_miss: match settings.queue {
                Queue::Deadline => allowed_miss,
                Queue::Fifo => FIFO_SHARE_OF_ALLOWED * allowed_miss,
            },
            fifo_slack_seconds: match settings.queue {
                Queue::Deadline => None,
                Queue::Fifo => Some(settings.objective.ttft_seconds),
            },
        }
    }
}

/// Demand that finds no replica in time just now, in replicas: what the routers count as late; where they do not, what
/// exceeds the Ready replicas, or first come first served all of it while the queue is longer than the objective of time to
/// first token allows.
pub(crate) fn missed(demand: &Demand, look: &Look, capacity: &Capacity, settings: &Settings) -> f64 {
    let replica_seconds = |requests: f64, stay: f64| requests / capacity.requests * stay;
    // Where even an idle engine misses the objective, the count says nothing about replicas.
    let late = demand.late_per_second.filter(|_| !capacity.objective_out_of_reach);
    if let (Some(late), Some(stay)) = (late, demand.service_seconds) {
        return replica_seconds(late, stay);
    }
    let ready = f64::from(look.observed.ready);
    match settings.queue {
        Queue::Deadline => (demand.replicas - ready).max(0.0),
        Queue::Fifo => {
            // What waits fills so many replicas for a service time each, and all that are Ready work on it.
            let waiting = replica_seconds(demand.waiting, demand.service_seconds.unwrap_or(0.0));
            if waiting > settings.objective.ttft_seconds * ready { demand.replicas } else { 0.0 }
        }
    }
}

#[cfg(test)]
mod tests;
