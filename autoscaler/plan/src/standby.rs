//! Engines that sleep: a tier between Ready and gone, with a start-up time and a price of its own.
//!
//! A sleeping engine has given up its GPU memory and kept its process, so it is Ready again after a wake of seconds instead
//! of a start of minutes. A plan that knows it holds fewer engines Ready, and lets one go sooner.

use autoscaler_forecast::Rhythm;
use serde::{Deserialize, Serialize};

use crate::decision::{Reason, reasons};
use crate::facts::{Facts, Phase};
use crate::planner::Sleepers;
use crate::startup::Startup;

/// What sleeps and what it costs, as a fact of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standby {
    /// Engines asleep now, those included that fall asleep.
    pub asleep: u32,
    /// Most that sleep at once; what is released beyond them ends.
    pub most: u32,
    /// What a sleeping engine costs, in Ready ones: from 0 to below 1.
    pub price: f64,
}

/// The tier that a decision counted on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyTier {
    /// What sleeps and what it costs.
    pub standby: Standby,
    /// Engines being woken.
    pub waking: u32,
    /// How long a wake takes, from the call to Ready; `samples` are wakes.
    pub wake: Startup,
}

impl StandbyTier {
    pub(crate) fn new(standby: Standby, wake: Startup, facts: &Facts) -> Self {
        let waking = facts
            .engines
            .iter()
            .filter(|engine| matches!(engine.phase, Phase::Starting { .. }) && engine.milestones.woken.is_some());
        Self { standby, waking: waking.count() as u32, wake }
    }

    /// Seconds until the next replica serves, 95 % of the time: by a wake while one sleeps, else by a start.
    pub(crate) fn next_seconds(&self, startup: &Startup) -> f64 {
        if self.standby.asleep > 0 { self.wake.p95_seconds.min(startup.p95_seconds) } else { startup.p95_seconds }
    }

    /// The tier as the layers of the plan see it.
    pub(crate) fn sleepers(&self, ready: u32, rhythm: &Rhythm, startup_steps: usize) -> Sleepers {
        Sleepers {
            reach: (ready + self.waking + self.standby.asleep) as usize,
            most: self.standby.most as usize,
            price: self.standby.price,
            wake_steps: rhythm.steps(self.wake.p95_seconds).min(startup_steps),
        }
    }

    /// That engines sleep, as a reason; `None` while none does.
    pub(crate) fn reason(&self, startup: &Startup) -> Option<Reason> {
        let asleep = self.standby.asleep;
        let verb = if asleep == 1 { "engine is" } else { "engines are" };
        let message = format!(
            "{asleep} {verb} asleep: the next ones are woken, 95 % of wakes take {:.1} s and starts {:.1} s",
            self.wake.p95_seconds, startup.p95_seconds
        );
        (asleep > 0).then(|| Reason::new(reasons::STANDBY, f64::from(asleep), message))
    }
}

#[cfg(test)]
mod tests;
