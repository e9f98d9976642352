//! Start-up time: learned from order to Ready, its upper quantile is how far ahead the plan looks.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::facts::{EngineFacts, Milestones, Phase};

/// Creation times of pods are cut to this.
const CREATION_STEP: SignedDuration = SignedDuration::from_secs(1);

/// Start-up time believed before the first engine was seen to start: cached weights and compile cache, one GPU.
pub const STARTUP_PRIOR_SECONDS: f64 = 120.0;

/// Time to wake a sleeping engine believed before the first was seen to wake. vLLM's sleep mode, level 1, wakes models of 0.6B
/// to 235B parameters in 0.1 to 6 s (vLLM blog, "Sleep Mode", 2025-10-26).
pub const WAKE_PRIOR_SECONDS: f64 = 5.0;

/// Starts remembered: enough for a 95 % quantile that is not the maximum, small enough for the status of an object.
const REMEMBERED_STARTS: usize = 32;

/// Orders waiting for their engine; more than these in one start-up time are beyond any fleet we scale.
const OPEN_ORDERS: usize = 64;

/// Spread of the logarithm of start-up times before it is known, and how many starts that belief is worth. Published starts
/// of one model on one kind of machine scatter by 15 to 30 %.
const SPREAD_PRIOR: f64 = 0.2;
const SPREAD_PRIOR_STARTS: f64 = 4.0;

/// With this many starts the quantile that was seen counts as much as the smoothed one: starts that bring a new machine
/// with them are a second hump, which no smooth law has.
const TRUST_SEEN_STARTS: f64 = 6.0;

/// A part of a start that took no time.
const LEAST_SECONDS: f64 = 0.001;

/// An order that was not answered within this many upper quantiles never will be: the machines have run out.
const OVERDUE_QUANTILES: f64 = 3.0;

/// Learned start-up time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Startup {
    /// Median, in seconds.
    pub p50_seconds: f64,
    /// Upper quantile that the plan looks ahead over, in seconds.
    pub p95_seconds: f64,
    /// Starts it was learned from; 0 means prior or override.
    pub samples: u32,
    /// Engines that went away before they were Ready, without having been released.
    pub failures: u32,
    /// Upper quantile of the part until a machine was found, in seconds; `None` until seen.
    pub machine_p95_seconds: Option<f64>,
    /// Upper quantile of the part from there until the containers ran, their images fetched, in seconds; `None` until seen.
    pub image_p95_seconds: Option<f64>,
    /// Replicas ordered that never came: not Ready after several times the upper quantile.
    pub stock_outs: u32,
}

impl Startup {
    /// How far ahead to look, in seconds: an order given at the next decision is Ready by then.
    #[must_use]
    pub fn horizon_seconds(&self, control_period_seconds: f64) -> f64 {
        self.p95_seconds + control_period_seconds
    }
}

/// What is remembered of starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartupState {
    /// Seconds from order to Ready, oldest first.
    seconds: VecDeque<f64>,
    /// The parts of them until a machine was found, and from there until the containers ran.
    machine_seconds: VecDeque<f64>,
    image_seconds: VecDeque<f64>,
    /// Engines Ready at or before this are in `seconds`.
    learned_until: Option<Timestamp>,
    /// Orders whose engines are not Ready.
    orders: VecDeque<Order>,
    /// Replicas taken back: as many engines may go away before they are Ready.
    released: VecDeque<Order>,
    /// Engines that start.
    starting: BTreeMap<String, Timestamp>,
    failures: u32,
    stock_outs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Order {
    at: Timestamp,
    replicas: u32,
}

impl StartupState {
    /// Whether nothing was ever seen or ordered.
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Remembers that `replicas` more were ordered.
    pub(crate) fn ordered(&mut self, replicas: u32, now: Timestamp) {
        push(&mut self.orders, Order { at: now, replicas });
    }

    /// Remembers that `replicas` were taken back, and forgets the orders whose engines had not come.
    pub(crate) fn withdrawn(&mut self, replicas: u32, now: Timestamp) {
        self.orders.clear();
        push(&mut self.released, Order { at: now, replicas });
    }

    /// Learns from the engines that exist now, and returns when those it learned from were created.
    pub(crate) fn learn<'a, E>(&mut self, engines: E, now: Timestamp) -> Vec<Timestamp>
    where
        E: IntoIterator<Item = &'a EngineFacts> + Clone,
    {
        let learned = self.learn_ready(engines.clone());
        if !self.orders.is_empty() || !self.released.is_empty() {
            self.forget_overdue(now);
        }
        self.count_failures(engines);
        learned
    }

    /// Forgets what was ordered and released too long ago; orders that were never answered are stock-outs.
    fn forget_overdue(&mut self, now: Timestamp) {
        let patience = OVERDUE_QUANTILES * self.quantiles(None).p95_seconds;
        let overdue = |order: &Order| seconds_between(order.at, now) > patience;
        self.released.retain(|order| !overdue(order));
        let lost = self.orders.iter().filter(|order| overdue(order)).map(|order| order.replicas);
        self.stock_outs = self.stock_outs.saturating_add(lost.sum());
        self.orders.retain(|order| !overdue(order));
    }

    /// Learns from engines that became Ready since the last time, and returns when they were created.
    fn learn_ready<'a>(&mut self, engines: impl IntoIterator<Item = &'a EngineFacts>) -> Vec<Timestamp> {
        let mut fresh: Vec<(Timestamp, Timestamp, Milestones)> = engines
            .into_iter()
            .filter_map(|engine| match engine.phase {
                Phase::Ready { created, since } if self.learned_until.is_none_or(|until| since > until) => {
                    Some((since, created, engine.milestones))
                }
                Phase::Ready { .. } | Phase::Starting { .. } | Phase::Draining => None,
            })
            .collect();
        fresh.sort_unstable_by_key(|(ready, created, _)| (*ready, *created));
        for (ready, created, Milestones { scheduled, containers_started, .. }) in &fresh {
            let (ready, created) = (*ready, *created);
            let from = self.take_order(created).unwrap_or(created);
            remember(&mut self.seconds, seconds_between(from, ready));
            if let Some(scheduled) = *scheduled {
                // Clocks of the cluster and of this program differ by a little: a machine that was there took no time.
                remember(&mut self.machine_seconds, seconds_between(from, scheduled).max(LEAST_SECONDS));
                if let Some(started) = *containers_started {
                    remember(&mut self.image_seconds, seconds_between(scheduled, started).max(LEAST_SECONDS));
                }
            }
            self.learned_until = Some(ready);
        }
        fresh.into_iter().map(|(_, created, _)| created).collect()
    }

    /// Counts engines that were starting and are gone, or end, without having been Ready; those released do not count.
    fn count_failures<'a>(&mut self, engines: impl IntoIterator<Item = &'a EngineFacts> + Clone) {
        let phase = |id: &str| engines.clone().into_iter().find(|engine| engine.id == id).map(|engine| engine.phase);
        let gone = self.starting.keys().filter(|id| matches!(phase(id), None | Some(Phase::Draining))).count();
        for _ in 0..gone {
            match self.released.front_mut() {
                Some(order) if order.replicas > 1 => order.replicas -= 1,
                Some(_) => {
                    self.released.pop_front();
                }
                None => self.failures = self.failures.saturating_add(1),
            }
        }
        self.starting = engines
            .into_iter()
            .filter_map(|engine| match engine.phase {
                Phase::Starting { since } => Some((engine.id.clone(), since)),
                Phase::Ready { .. } | Phase::Draining => None,
            })
            .collect();
    }

    /// The order that an engine created then answers to: the last one before it. One that was woken answers it too.
    ///
    /// Kubernetes writes creation times in whole seconds, so an order of the same second may be the one.
    pub(crate) fn take_order(&mut self, created: Timestamp) -> Option<Timestamp> {
        let is_whole = created.subsec_nanosecond() == 0;
        let until = if is_whole { created.checked_add(CREATION_STEP).unwrap_or(created) } else { created };
        let is_before = |order: &Order| order.at <= created || order.at < until;
        let index = self.orders.iter().rposition(is_before)?;
        let order = self.orders.get_mut(index)?;
        let at = order.at;
        order.replicas = order.replicas.saturating_sub(1);
        if order.replicas == 0 {
            self.orders.remove(index);
        }
        Some(at)
    }

    /// What to believe before a start was seen, at that tempo; `None` afterwards.
    pub(crate) fn believed_seconds(&self, prior_seconds: f64, tempo: f64) -> Option<f64> {
        self.seconds.is_empty().then_some(prior_seconds * tempo)
    }

    /// The learned quantiles, or the operator's number, or the prior.
    pub(crate) fn quantiles(&self, fixed: Option<f64>) -> Startup {
        let startup = |p50_seconds: f64, p95_seconds: f64, samples: usize| Startup {
            p50_seconds,
            p95_seconds,
            samples: samples as u32,
            failures: self.failures,
            machine_p95_seconds: quantile(&self.machine_seconds, 0.95),
            image_p95_seconds: quantile(&self.image_seconds, 0.95),
            stock_outs: self.stock_outs,
        };
        if let Some(seconds) = fixed {
            return startup(seconds, seconds, 0);
        }
        let (Some(median), Some(seen)) = (quantile(&self.seconds, 0.5), quantile(&self.seconds, 0.95)) else {
            return startup(STARTUP_PRIOR_SECONDS, STARTUP_PRIOR_SECONDS, 0);
        };
        let starts = self.seconds.len() as f64;
        let trust = starts / (starts + TRUST_SEEN_STARTS);
        let upper = (trust * seen.ln() + (1.0 - trust) * smoothed_upper(&self.seconds).ln()).exp();
        startup(median, upper.max(median), self.seconds.len())
    }
}

/// The 95 % quantile of the next start, if starts are lognormal: Student's t over the logarithms, with a prior on their
/// spread and none on their mean (predictive distribution of the normal-inverse-gamma model; Gelman et al., Bayesian Data
/// Analysis, section 3.3).
fn smoothed_upper(seconds: &VecDeque<f64>) -> f64 {
    let starts = seconds.len() as f64;
    let mean = seconds.iter().map(|seconds| seconds.ln()).sum::<f64>() / starts;
    let squares: f64 = seconds.iter().map(|seconds| (seconds.ln() - mean).powi(2)).sum();
    let freedom = SPREAD_PRIOR_STARTS + starts - 1.0;
    let spread = ((SPREAD_PRIOR_STARTS * SPREAD_PRIOR.powi(2) + squares) / freedom).sqrt();
    // The degrees of freedom are at least those of the prior: the law exists.
    let deviations = StudentsT::new(0.0, 1.0, freedom).map_or(2.0, |law| law.inverse_cdf(0.95));
    (mean + deviations * spread * (1.0 + 1.0 / starts).sqrt()).exp()
}

fn remember(starts: &mut VecDeque<f64>, seconds: f64) {
    if seconds > 0.0 {
        starts.push_back(round(seconds));
        if starts.len() > REMEMBERED_STARTS {
            starts.pop_front();
        }
    }
}

/// The value below which `share` of some starts were, by nearest rank; `None` without any.
fn quantile(starts: &VecDeque<f64>, share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = starts.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn push(orders: &mut VecDeque<Order>, order: Order) {
    orders.push_back(order);
    while orders.len() > OPEN_ORDERS {
        orders.pop_front();
    }
}

/// Seconds from `from` to `to`, negative when `to` is earlier.
pub(crate) fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Milliseconds are enough, and keep the stored state short.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "quantiles are samples, copied and not computed")]
mod tests;
