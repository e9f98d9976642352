//! What one decision hands to the next. Small, versioned, and enough to continue after a restart without a jump.

use std::collections::{BTreeMap, VecDeque};

use autoscaler_forecast::Rhythm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::{CapacityState, Intervals};
use crate::demand::DemandState;
use crate::demand_history::DemandHistory;
use crate::planner::{PlanState, Rehearsed};
use crate::rate::Changes;
use crate::score::ScoreState;
use crate::startup::{StartupState, seconds_between};

/// Raised when the meaning of a stored field changes; older states are then refused, and the caller starts fresh.
const VERSION: u32 = 2;

/// Slices of the stabilisation window that are told apart; bounds the stored state.
const SLICES: f64 = 32.0;

/// The memory of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    version: u32,
    pub(crate) decided_at: Option<Timestamp>,
    /// Replicas the target was told to have at the last decision.
    pub(crate) told: Option<u32>,
    pub(crate) capacity: CapacityState,
    pub(crate) startup: StartupState,
    /// Wakes of sleeping engines, learned as starts are.
    #[serde(default, skip_serializing_if = "StartupState::is_new")]
    pub(crate) wakes: StartupState,
    pub(crate) demand: DemandState,
    pub(crate) plan: PlanState,
    pub(crate) recommendations: Recommendations,
    /// What was ordered and released lately, where that is limited.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub(crate) changes: Changes,
    #[serde(default)]
    pub(crate) score: ScoreState,
    /// Open intervals of the engines in sight. Not stored: a restart begins new ones.
    #[serde(skip)]
    pub(crate) intervals: BTreeMap<String, Intervals>,
}

/// A stored state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is not a state at all.
    #[error("read the stored state")]
    Malformed(#[source] serde_json::Error),
    /// It was written by another version.
    #[error("the stored state has version {found}, this program reads version {VERSION}")]
    Version {
        /// The stored version.
        found: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            decided_at: None,
            told: None,
            capacity: CapacityState::default(),
            startup: StartupState::default(),
            wakes: StartupState::default(),
            demand: DemandState::default(),
            plan: PlanState::default(),
            recommendations: Recommendations::default(),
            changes: Changes::default(),
            score: ScoreState::default(),
            intervals: BTreeMap::new(),
        }
    }
}

impl State {
    /// Forecasts that were judged, and how many of them each quantile (median, 80, 95, 99 %) covered; `None` before the
    /// first one.
    #[must_use]
    pub fn forecast_coverage(&self) -> Option<(u64, [u64; 4])> {
        self.plan.coverage().filter(|(judged, _)| *judged > 0)
    }

    /// Demand of the plan steps from `step` on that have ended, as far as it is still remembered: for a shell that keeps it.
    #[must_use]
    pub fn demand_since(&self, step: u64) -> DemandHistory {
        self.plan.demand_since(step)
    }

    /// Hands back what a shell kept of the demand, before the first decision after a restart: the plan then knows the days
    /// before it. Longer ago than a forecast looks is of no use, and forgotten.
    pub fn recall(&mut self, kept: DemandHistory) {
        self.plan.recall(kept);
    }

    /// Takes up a plan that has lived through the past, in the place of the one that has seen less. False if it does not
    /// fit, because nothing was decided yet, or too long ago, or the rhythm is another: then it is to be rehearsed anew.
    pub fn take_up(&mut self, rehearsed: Rehearsed, rhythm: Rhythm) -> bool {
        self.plan.take_up(rehearsed, rhythm)
    }

    /// Reads what [`State::to_json`] wrote.
    ///
    /// # Errors
    /// When the text is not a state of this version.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        /// Read first, so that another version is told from a broken text.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text).map_err(StateError::Malformed)?;
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        serde_json::from_str(text).map_err(StateError::Malformed)
    }

    /// One line of JSON, at most a few kilobytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a state holds only numbers, strings and times")
    }
}

/// Replicas wanted lately: a deque that only falls, so that its front is the maximum of the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recommendations(VecDeque<(Timestamp, u32)>);

impl Recommendations {
    /// Starts the window with the replicas found: the first decision of a new memory cannot scale down at once.
    pub(crate) fn seed(&mut self, replicas: u32, now: Timestamp) {
        if self.0.is_empty() {
            self.0.push_back((now, replicas));
        }
    }

    /// Adds what is wanted now and returns the most that was wanted within the window, with its age in seconds.
    pub(crate) fn add(&mut self, wanted: u32, now: Timestamp, window_seconds: f64) -> (u32, f64) {
        while self.0.back().is_some_and(|&(_, earlier)| earlier <= wanted) {
            self.0.pop_back();
        }
        // One entry per slice of the window: the first of a slice is its highest, and moves to the slice's last moment.
        // So the deque is bounded, and nothing is held for less than the window or more than a slice beyond it.
        let slice = |at: Timestamp| (seconds_between(Timestamp::UNIX_EPOCH, at) * SLICES / window_seconds).floor();
        match self.0.back_mut() {
            Some(last) if slice(last.0) >= slice(now) => last.0 = now,
            Some(_) | None => self.0.push_back((now, wanted)),
        }
        while self.0.len() > 1 && self.0.front().is_some_and(|&(at, _)| seconds_between(at, now) >= window_seconds) {
            self.0.pop_front();
        }
        self.0.front().map_or((wanted, 0.0), |&(at, most)| (most, seconds_between(at, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).expect("in range")
    }

    #[test]
    fn the_most_of_the_window_is_kept_and_then_forgotten() {
        let mut recent = Recommendations::default();
        assert_eq!(recent.add(5, at(0), 3.0).0, 5);
        assert_eq!(recent.add(2, at(1000), 3.0).0, 5);
        assert_eq!(recent.add(1, at(2999), 3.0).0, 5);
        assert_eq!(recent.add(1, at(3000), 3.0).0, 2);
        assert_eq!(recent.add(1, at(4000), 3.0).0, 1);
    }

    #[test]
    fn thinning_never_holds_less_and_hardly_more() {
        let mut recent = Recommendations::default();
        for step in 0..1000_u32 {
            let (most, _) = recent.add(2000 - step, at(i64::from(step) * 10), 3.0);
            let exact = 2000 - step.saturating_sub(299);
            assert!((exact..=exact + 20).contains(&most), "step {step}: held {most}, the window had {exact}");
            assert!(recent.0.len() <= 34);
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let text = State::default().to_json().replace("\"version\":2", "\"version\":7");
        let error = State::from_json(&text).expect_err("version 7 is not ours").to_string();
        assert_eq!(error, "the stored state has version 7, this program reads version 2");
        assert!(matches!(State::from_json("{"), Err(StateError::Malformed(_))));
    }

    #[test]
    fn a_state_survives_its_text() {
        let mut state = State::default();
        state.recommendations.add(4, at(0), 3.0);
        state.startup.ordered(2, at(0));
        assert_eq!(State::from_json(&state.to_json()).expect("its own text"), state);
    }
}
