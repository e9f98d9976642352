//! Scaling policies to compare with: what projects ship, what papers propose, what people do by hand, and what foresight
//! could do.
//!
//! Each is built from the task (objective, engine, start-up time) and one of at most fifty settings, of which the first
//! is the one that is shipped. Demand, the future included, is given to all; only those said to be clairvoyant look.
//! Laws are re-implemented from their description: what a project's own control loop adds in lag or noise is not there,
//! so these are its law's best case.

mod additive_headroom;
mod aibrix_apa;
mod aibrix_kpa;
mod autopilot;
mod chiron;
mod clairvoyant;
mod crane;
mod cron_hpa;
mod dynamo;
mod headroom_conformal;
pub mod hpa;
mod hpa_kv;
mod hpa_queue;
mod hpa_running;
mod keda_waiting;
mod knative;
mod knob;
mod law_a;
mod list;
mod llm_d_p90;
mod meter;
mod phpa;
mod reactive;
mod sageserve;
mod static_peak;
mod token_aware;
mod wva_v1;
mod wva_v2;

use knob::Knob;

use crate::{Demand, Policy, Task};

/// A policy to compare with.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    /// Name by which flags choose it.
    pub name: &'static str,
    /// What it is and where it comes from.
    pub source: &'static str,
    /// Whether it knows the future: a bound, not a competitor.
    pub is_clairvoyant: bool,
    knobs: &'static [Knob],
    make: fn(&Task, &Demand, &[f64]) -> Box<dyn Policy>,
}

impl Baseline {
    /// Its settings in words, the shipped one first; at most fifty.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        (0..self.setting_count()).map(|setting| knob::described(self.knobs, setting)).collect()
    }

    /// How many settings there are.
    #[must_use]
    pub fn setting_count(&self) -> usize {
        knob::count(self.knobs)
    }

    /// The policy at a setting, an index into [`Baseline::settings`]; `None` beyond its end.
    #[must_use]
    pub fn build(&self, task: &Task, demand: &Demand, setting: usize) -> Option<Box<dyn Policy>> {
        (setting < self.setting_count()).then(|| (self.make)(task, demand, &knob::values(self.knobs, setting)))
    }
}

/// All of them, in the order in which they are listed.
#[must_use]
pub fn all() -> &'static [Baseline] {
    list::ALL
}

/// The baseline of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Baseline> {
    all().iter().find(|baseline| baseline.name == name)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests;
