//! The policies that can be chosen by name: ours, and all that they are compared with.

use std::sync::Arc;

use autoscaler_plan::LogRecord;
use autoscaler_sim::baselines::{self, Baseline};
use autoscaler_sim::{Demand, Discipline, Policy, Signals, Task};

/// Takes what each decision of ours was made on, and what came of it.
#[derive(Clone)]
pub struct DecisionSink(Arc<dyn Fn(LogRecord) + Send + Sync>);

impl DecisionSink {
    /// A sink that hands every record to `take`.
    pub fn new(take: impl Fn(LogRecord) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(crate) fn take(&self, record: LogRecord) {
        (self.0)(record);
    }
}

impl std::fmt::Debug for DecisionSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DecisionSink")
    }
}

/// What a policy of ours is made from: the objective and the clock it lives by, no knob.
#[derive(Debug, Clone, Copy)]
pub struct OwnSetup<'a> {
    /// Objective, engine, start-up time, bounds.
    pub task: &'a Task,
    /// Order of the router's queue, which the policy shares the objective with.
    pub queue: Discipline,
    /// Length of the season, 24 h unless time is compressed.
    pub season_seconds: f64,
    /// Factor on the policy's constants of minutes and seconds, 1 unless time is compressed.
    pub tempo: f64,
    /// Step of the demand, in seconds.
    pub step_seconds: f64,
    /// Where decisions are logged, if they are.
    pub decisions: Option<&'a DecisionSink>,
}

/// A policy of ours.
#[derive(Clone, Copy)]
pub struct Own {
    /// Name by which flags choose it.
    pub name: &'static str,
    /// What it is.
    pub source: &'static str,
    /// Makes it, untrained.
    pub build: fn(&OwnSetup<'_>) -> Box<dyn Policy>,
}

/// The policies of ours that this program has.
pub const OURS: &[Own] = &[crate::predictive::PREDICTIVE];

/// Ours without its parts, or with a wrong idea of its engines; not among all policies.
pub const ABLATIONS: &[Own] = crate::predictive::ABLATIONS;

/// What a running system had ordered: replicas from a time on, in seconds since the start of the trace, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    /// `(seconds, replicas)`.
    pub changes: Vec<(f64, u32)>,
}

impl Orders {
    /// Replicas ordered at a time; those of the first change before it.
    #[must_use]
    pub fn at(&self, seconds: f64) -> u32 {
        let place = self.changes.partition_point(|(from, _)| *from <= seconds + 1e-6).saturating_sub(1);
        self.changes.get(place).map_or(0, |(_, replicas)| *replicas)
    }
}

/// Name of the policy that repeats what was ordered.
pub const AS_RUN: &str = "as-run";

/// A policy that was chosen.
#[derive(Clone)]
pub enum Choice {
    /// One of ours: gets the objective and nothing else, so tuning does not apply to it.
    Own(Own),
    /// One to compare with.
    Baseline(&'static Baseline),
    /// What was ordered in fact.
    AsRun(Arc<Orders>),
}

impl Choice {
    /// Name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own(own) => own.name,
            Self::Baseline(baseline) => baseline.name,
            Self::AsRun(_) => AS_RUN,
        }
    }

    /// What it is and where it comes from.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::Own(own) => own.source,
            Self::Baseline(baseline) => baseline.source,
            Self::AsRun(_) => "What was ordered in fact, from the history.",
        }
    }

    /// Whether it knows the future: a bound, not a competitor.
    #[must_use]
    pub fn is_clairvoyant(&self) -> bool {
        matches!(self, Self::Baseline(baseline) if baseline.is_clairvoyant)
    }

    /// Whether it is one of ours.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Its settings in words, the shipped one first.
    pub(crate) fn settings(&self) -> Vec<String> {
        match self {
            Self::Own(_) => vec!["the objective".to_owned()],
            Self::Baseline(baseline) => baseline.settings(),
            Self::AsRun(_) => vec!["as recorded".to_owned()],
        }
    }

    /// The policy at a setting; `None` beyond the last.
    pub(crate) fn build(&self, setup: &OwnSetup<'_>, demand: &Demand, setting: usize) -> Option<Box<dyn Policy>> {
        match self {
            Self::Own(own) => (setting == 0).then(|| (own.build)(setup)),
            Self::Baseline(baseline) => baseline.build(setup.task, demand, setting),
            Self::AsRun(orders) => {
                let replay = Replay { step_seconds: setup.step_seconds, orders: Arc::clone(orders) };
                (setting == 0).then(|| -> Box<dyn Policy> { Box::new(replay) })
            }
        }
    }
}

struct Replay {
    step_seconds: f64,
    orders: Arc<Orders>,
}

impl Policy for Replay {
    fn period_seconds(&self) -> f64 {
        self.step_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        self.orders.at(signals.now_seconds)
    }
}

/// No policy has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a policy{}; `--policy list` names them all", similar.map(|s| format!(", did you mean `{s}`?")).unwrap_or_default())]
pub struct UnknownPolicy {
    name: String,
    similar: Option<&'static str>,
}

/// All policies, ours first.
#[must_use]
pub fn all(ours: &[Own]) -> Vec<Choice> {
    ours.iter().copied().map(Choice::Own).chain(baselines::all().iter().map(Choice::Baseline)).collect()
}

/// The policies of these names, in that order, each once; `all` is all of them.
///
/// # Errors
/// If a name is no policy's.
pub fn chosen(names: &[String], ours: &[Own]) -> Result<Vec<Choice>, UnknownPolicy> {
    let known = all(ours);
    let mut chosen: Vec<Choice> = Vec::new();
    for name in names {
        let found: Vec<Choice> = known.iter().filter(|p| name == "all" || p.name() == name).cloned().collect();
        if found.is_empty() {
            let mut names = known.iter().map(Choice::name);
            let begins = names.clone().find(|known| known.starts_with(name.as_str()));
            let similar = begins.or_else(|| names.find(|known| known.contains(name.as_str()) || name.contains(known)));
            return Err(UnknownPolicy { name: name.clone(), similar });
        }
        for policy in found {
            if chosen.iter().all(|already| already.name() != policy.name()) {
                chosen.push(policy);
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_chosen_by_name_in_order_and_once() {
        let names = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        let found = chosen(&names("reactive,static-peak,reactive"), &[]).unwrap();
        assert_eq!(found.iter().map(Choice::name).collect::<Vec<_>>(), ["reactive", "static-peak"]);
        assert_eq!(chosen(&names("all"), &[]).unwrap().len(), baselines::all().len());
    }

    #[test]
    fn an_unknown_name_is_refused_with_what_was_meant() {
        let error = chosen(&["hpa".to_owned()], &[]).err().unwrap().to_string();
        assert!(error.starts_with("`hpa` is not a policy, did you mean `hpa-"), "{error}");
        assert!(error.ends_with("`--policy list` names them all"), "{error}");
    }

    #[test]
    fn the_page_of_baselines_names_them_all() {
        let page = include_str!("../../../docs/benchmarks/baselines.md");
        for policy in all(OURS) {
            assert!(page.contains(&format!("| `{}` |", policy.name())), "{} is missing", policy.name());
        }
    }
}
