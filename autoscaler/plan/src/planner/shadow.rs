//! Shadow plans: what would have been, had another price and another margin been chosen all along.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Prices of a replica that is missing for one step, in replicas for one step.
pub(crate) const PRICES: [f64; 10] = [5.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 50.0, 100.0];

/// What a shadow makes its replicas from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// The layers on at this price, an index into [`PRICES`].
    Layers(usize),
    /// The demand of the last half minute: where nothing can be foreseen, a margin on the present is the best there is.
    Present,
}

/// How a shadow turns its source into replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Setting {
    pub(crate) source: Source,
    /// The source is multiplied by this.
    pub(crate) gain: f64,
    /// The largest of so many minutes counts.
    pub(crate) hold_minutes: f64,
}

impl Setting {
    /// Price of a missing replica, if the shadow has one.
    pub(crate) fn price(&self) -> Option<f64> {
        match self.source {
            Source::Layers(price) => Some(PRICES[price]),
            Source::Present => None,
        }
    }

    /// Replicas wanted, from the layers on at each price and the present demand.
    pub(crate) fn wanted(&self, on: &[u32; PRICES.len()], present: f64) -> u32 {
        let wanted = match self.source {
            // Rounded, not up: a third more than one replica is one, not twice the cost of a small model.
            Source::Layers(price) => (f64::from(on[price]) * self.gain).round(),
            Source::Present => (present * self.gain - ROUNDING).ceil().max(0.0),
        };
        // A float beyond u32 saturates, and the maximum clamps it.
        wanted as u32
    }
}

/// A hair above a whole number of replicas does not start another one.
pub(crate) const ROUNDING: f64 = 0.02;

const fn setting(price: usize, gain: f64, hold_minutes: f64) -> Setting {
    Setting { source: Source::Layers(price), gain, hold_minutes }
}

/// Margins and holds of the shadows that follow the present.
const PRESENT_GAINS: [f64; 4] = [1.2, 1.35, 1.6, 2.0];
const PRESENT_HOLD_MINUTES: [f64; 2] = [2.0, 20.0];

/// All settings: those of the layers first.
pub(crate) fn ladder() -> Vec<Setting> {
    let present = PRESENT_GAINS.iter().flat_map(|gain| {
        PRESENT_HOLD_MINUTES.map(|hold_minutes| Setting { source: Source::Present, gain: *gain, hold_minutes })
    });
    LAYERED.into_iter().chain(present).collect()
}

/// Those of the layers, by margin, hold and price.
const LAYERED: [Setting; 39] = [
    setting(0, 1.0, 2.0),
    setting(1, 1.0, 2.0),
    setting(2, 1.0, 2.0),
    setting(3, 1.0, 2.0),
    setting(4, 1.0, 2.0),
    setting(5, 1.0, 2.0),
    setting(6, 1.0, 2.0),
    setting(7, 1.0, 2.0),
    setting(8, 1.0, 2.0),
    setting(0, 1.0, 10.0),
    setting(1, 1.0, 10.0),
    setting(2, 1.0, 10.0),
    setting(3, 1.0, 10.0),
    setting(4, 1.0, 10.0),
    setting(6, 1.0, 10.0),
    setting(7, 1.1, 2.0),
    setting(1, 1.1, 10.0),
    setting(2, 1.1, 10.0),
    setting(3, 1.1, 10.0),
    setting(4, 1.1, 10.0),
    setting(6, 1.1, 10.0),
    setting(7, 1.1, 10.0),
    setting(1, 1.1, 60.0),
    setting(7, 1.2, 2.0),
    setting(7, 1.2, 5.0),
    setting(8, 1.2, 5.0),
    setting(3, 1.2, 10.0),
    setting(4, 1.2, 10.0),
    setting(3, 1.2, 60.0),
    setting(8, 1.35, 10.0),
    setting(3, 1.35, 60.0),
    setting(8, 1.5, 10.0),
    setting(3, 1.5, 60.0),
    setting(8, 1.75, 20.0),
    setting(3, 1.75, 60.0),
    setting(8, 2.0, 20.0),
    setting(3, 2.0, 60.0),
    setting(8, 2.5, 60.0),
    setting(9, 2.5, 60.0),
];

/// The rung to stand on until there is a record: price 50, a third of margin, held for ten minutes.
pub(crate) const FIRST: usize = 29;
const _: () = assert!(matches!(LAYERED[FIRST], Setting { source: Source::Layers(8), gain: 1.35, hold_minutes: 10.0 }));

/// Largest or smallest value of a sliding window, by a deque that only falls or only rises.
#[derive(Debug, Clone, Default)]
struct Extreme {
    kept: VecDeque<(u64, u32)>,
}

impl Extreme {
    fn add(&mut self, step: u64, value: u32, window: usize, is_beaten: impl Fn(u32, u32) -> bool) -> u32 {
        while self.kept.back().is_some_and(|(_, old)| is_beaten(*old, value)) {
            self.kept.pop_back();
        }
        self.kept.push_back((step, value));
        while self.kept.front().is_some_and(|(at, _)| at + (window as u64) < step) {
            self.kept.pop_front();
        }
        self.kept.front().map_or(value, |(_, value)| *value)
    }
}

/// Fading cost and misses of one shadow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// Replica-steps.
    pub(crate) cost: f64,
    /// Demand that found no replica, in replica-steps.
    pub(crate) missed: f64,
}

/// One shadow plan: a rung of the ladder, lived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shadow {
    held: Extreme,
    ready: Extreme,
    /// Replicas now, and those of them that are Ready.
    pub(crate) replicas: u32,
    pub(crate) ready_now: u32,
    backlog: f64,
    /// Since the scores were last folded.
    pub(crate) fresh: Score,
    pub(crate) score: Score,
}

impl Shadow {
    /// Plans for `step`: what is wanted, never less than `least`.
    pub(crate) fn plan(&mut self, step: u64, wanted: u32, hold: usize, startup_steps: usize, least: u32) {
        let wanted = wanted.max(least);
        self.replicas = self.held.add(step, wanted, hold, |old, new| old <= new);
        self.ready_now = self.ready.add(step, self.replicas, startup_steps, |old, new| old >= new);
    }

    /// Scores the step that has ended. With `slack_steps`, demand misses when those before it are still in the queue
    /// (first come, first served), else only what exceeds the replicas does.
    pub(crate) fn settle(&mut self, demand: f64, slack_steps: Option<f64>) {
        let ready = f64::from(self.ready_now);
        self.fresh.cost += f64::from(self.replicas);
        self.backlog = (self.backlog + demand - ready).max(0.0);
        self.fresh.missed += match slack_steps {
            Some(slack) if self.backlog > slack * ready => demand,
            Some(_) => 0.0,
            None => (demand - ready).max(0.0),
        };
    }
}
