//! A plan that is handed the past: it lives through it once more, and is then put in the place of the one that lives.

use autoscaler_forecast::Rhythm;

use super::{Alive, MOST_GAP_STEPS, PlanState, Terms};
use crate::facts::Settings;
use crate::past::{Past, ReplicaUnits};
use crate::planner::Planner;

/// A record that spans at least so much of a season is kept; a shorter one gives way to that of the rehearsal.
const OWN_RECORD_SEASONS: f64 = 1.0;

/// A past of less than this share of what the plan knows already is not taken up: a recorder that keeps hours, or is new.
const LEAST_SHARE: f64 = 0.8;

/// A plan that has lived through a past it was told of.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    rhythm: Rhythm,
    terms: Terms,
    planner: Box<Planner>,
}

impl Rehearsed {
    /// Lives through the past; `None` when nothing of it can be used. Some seconds of work for a week: not for a control
    /// loop. `startup_seconds` is what 95 % of starts take at most.
    #[must_use]
    pub fn of(past: &Past, settings: &Settings, units: &ReplicaUnits, startup_seconds: f64) -> Option<Self> {
        let rhythm = settings.rhythm;
        let terms = Terms::of(settings, startup_seconds);
        let (first, demand) = past.demand(&rhythm, units)?;
        let replicas =
            demand.first().copied().unwrap_or(0.0).ceil().clamp(0.0, f64::from(settings.max_replicas)) as u32;
        let mut planner = Box::new(Planner::new(rhythm, first, replicas));
        for demand in demand {
            planner.live_through(demand, &terms);
        }
        Some(Self { rhythm, terms, planner })
    }

    /// Plan steps lived through.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.planner.steps_seen()
    }
}

impl Planner {
    /// One step of the past: what the plan chosen then would have missed is taken as missed in truth.
    fn live_through(&mut self, demand: f64, terms: &Terms) {
        let slack_steps = terms.fifo_slack_seconds.map(|seconds| seconds / self.rhythm.step_seconds());
        let mut chosen = self.shadows[self.rung].clone();
        let before = chosen.fresh.missed;
        chosen.settle(demand, slack_steps);
        self.settle(demand, chosen.fresh.missed - before, terms.fifo_slack_seconds);
        self.plan(terms.startup_steps, terms.least, terms.allowed_miss);
    }
}

impl PlanState {
    /// Puts a rehearsed plan in the place of the one that lives, unless that knows more. What was lived through since its past
    /// ended is added to it. False if it does not fit, because time or the rhythm moved on too far.
    pub(crate) fn take_up(&mut self, rehearsed: Rehearsed, rhythm: Rhythm) -> bool {
        let Rehearsed { rhythm: of, terms, mut planner } = rehearsed;
        let next = planner.forecaster().history().next();
        let Some(open) =
            self.open.filter(|open| of == rhythm && open.step >= next && open.step - next <= MOST_GAP_STEPS)
        else {
            return false;
        };
        let since = (open.step - next) as usize;
        let living = self.planner.0.as_ref().filter(|(of, _)| *of == rhythm);
        let known = living.map_or(self.recalled.replicas.len(), |(_, planner)| planner.forecaster().history().len());
        if known as f64 * LEAST_SHARE > (planner.forecaster().history().len() + since) as f64 {
            return true;
        }
        let lived = since.min(self.recent.len());
        let known = self.recent.iter().skip(self.recent.len() - lived).map(|demand| f64::from(*demand));
        let last = planner.forecaster().history().at(next);
        let between = if lived > 0 { self.recent[self.recent.len() - lived].into() } else { last };
        for demand in std::iter::repeat_n(between, since - lived).chain(known) {
            planner.live_through(demand, &terms);
        }
        if let Some(saved) = self.saved.as_ref().filter(|saved| saved.steps() >= rhythm.seasons(OWN_RECORD_SEASONS)) {
            planner.restore(saved);
        }
        self.saved = Some(planner.save());
        self.planner = Alive(Some((rhythm, planner)));
        true
    }
}
