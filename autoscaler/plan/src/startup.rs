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
        let patience = OVERDUE_QUANTILES * self.quantiles(None).p95_seconds;
        self.released.retain(|order| seconds_between(order.at, now) <= patience);
        self.count_failures(engines);
        let overdue = |order: &Order| seconds_between(order.at, now) > patience;
        let lost = self.orders.iter().filter(|order| overdue(order)).map(|order| order.replicas);
        self.stock_outs = self.stock_outs.saturating_add(lost.sum());
        self.orders.retain(|order| !overdue(order));
        learned
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
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("in range")
    }

    fn ready(id: &str, created: i64, since: i64) -> EngineFacts {
        EngineFacts {
            id: id.to_owned(),
            phase: Phase::Ready { created: at(created), since: at(since) },
            milestones: Milestones::default(),
            observation: crate::Observation::Absent { reason: String::new() },
        }
    }

    fn starting(id: &str, since: i64) -> EngineFacts {
        EngineFacts { phase: Phase::Starting { since: at(since) }, ..ready(id, since, since) }
    }

    #[test]
    fn a_pod_stamped_with_the_second_of_its_order_answers_that_order_and_not_an_older_one() {
        let mut state = StartupState::default();
        let ordered = |milliseconds: i64| Timestamp::from_millisecond(1_000_000_000 + milliseconds).expect("in range");
        state.ordered(1, ordered(40_136));
        state.ordered(1, ordered(60_289));
        state.learn(&[ready("a", 60, 71)], at(71));
        assert_eq!(state.seconds, [10.711]);
        state.learn(&[ready("a", 60, 71), ready("b", 40, 72)], at(72));
        assert_eq!(state.seconds, [10.711, 31.864]);
    }

    #[test]
    fn start_up_is_counted_from_the_order_not_from_the_pod() {
        let mut state = StartupState::default();
        state.ordered(2, at(0));
        state.learn(&[ready("a", 10, 70), ready("b", 12, 80)], at(80));
        assert_eq!(state.seconds, [70.0, 80.0]);
        let startup = state.quantiles(None);
        assert_eq!((startup.p50_seconds, startup.samples), (70.0, 2));
    }

    #[test]
    fn the_wait_for_a_machine_and_the_image_are_told_apart() {
        let mut state = StartupState::default();
        state.ordered(2, at(0));
        let milestones = |scheduled, started| Milestones {
            scheduled: Some(at(scheduled)),
            containers_started: Some(at(started)),
            woken: None,
        };
        let cold = EngineFacts { milestones: milestones(150, 200), ..ready("a", 1, 300) };
        let warm = EngineFacts { milestones: milestones(1, 3), ..ready("b", 1, 100) };
        state.learn(&[cold, warm], at(300));
        let startup = state.quantiles(None);
        assert_eq!((startup.machine_p95_seconds, startup.image_p95_seconds), (Some(150.0), Some(50.0)));
        assert_eq!(state.machine_seconds, [1.0, 150.0]);
        assert_eq!(after(&[60.0]).machine_p95_seconds, None);
    }

    #[test]
    fn an_engine_nobody_ordered_counts_from_its_creation() {
        let mut state = StartupState::default();
        state.learn(&[ready("a", 10, 70)], at(70));
        assert_eq!(state.seconds, [60.0]);
    }

    #[test]
    fn an_engine_is_learned_once() {
        let mut state = StartupState::default();
        for second in 60..65 {
            state.learn(&[ready("a", 0, 60)], at(second));
        }
        assert_eq!(state.quantiles(None).samples, 1);
    }

    #[test]
    fn a_withdrawn_order_does_not_lengthen_a_later_start() {
        let mut state = StartupState::default();
        state.ordered(1, at(0));
        state.withdrawn(1, at(5));
        state.learn(&[ready("a", 500, 560)], at(560));
        assert_eq!(state.seconds, [60.0]);
    }

    #[test]
    fn the_prior_holds_until_an_engine_started_and_an_override_always() {
        let mut state = StartupState::default();
        assert_eq!(state.quantiles(None).p95_seconds, STARTUP_PRIOR_SECONDS);
        let believed = |state: &StartupState, tempo| state.believed_seconds(STARTUP_PRIOR_SECONDS, tempo);
        assert_eq!(believed(&state, 1.0 / 80.0), Some(1.5), "a replay starts its engines as much faster");
        state.learn(&[ready("a", 0, 60)], at(60));
        assert_eq!(state.quantiles(Some(0.5)).p95_seconds, 0.5);
        assert_eq!(believed(&state, 1.0), None);
    }

    #[test]
    fn only_the_last_starts_are_remembered() {
        let mut state = StartupState::default();
        for start in 0..100 {
            state.learn(&[ready("a", start * 1000, start * 1000 + 10 + start)], at(start * 1000 + 999));
        }
        let startup = state.quantiles(None);
        assert_eq!(startup.samples as usize, REMEMBERED_STARTS);
        assert!(startup.p50_seconds > 90.0, "{startup:?}");
    }

    fn after(seconds: &[f64]) -> Startup {
        StartupState { seconds: seconds.iter().copied().collect(), ..StartupState::default() }.quantiles(None)
    }

    #[test]
    fn the_upper_quantile_of_few_starts_leaves_room_and_closes_in_on_what_is_seen() {
        let one = after(&[60.0]).p95_seconds;
        assert!((80.0..120.0).contains(&one), "{one}");
        let alike = after(&[60.0; 32]).p95_seconds;
        assert!((60.0..65.0).contains(&alike) && alike < one, "{alike}");
        // Times scale: a demo that starts in a second is planned as one that takes minutes.
        assert!((after(&[0.6]).p95_seconds / one - 0.01).abs() < 1e-9);
    }

    #[test]
    fn the_upper_quantile_of_a_lognormal_start_is_found_with_few_starts() {
        // Median 100 s and a spread of 0.25: 95 % start within 151 s. Twelve quantiles of it, in the middle of their shares.
        let normal = [-1.73, -1.15, -0.81, -0.55, -0.32, -0.10, 0.10, 0.32, 0.55, 0.81, 1.15, 1.73];
        let starts = normal.map(|deviations: f64| 100.0 * (0.25 * deviations).exp());
        let found = after(&starts).p95_seconds;
        assert!((140.0..170.0).contains(&found), "{found}");
    }

    #[test]
    fn starts_that_bring_a_new_machine_are_in_the_upper_quantile() {
        let mut starts = vec![60.0; 28];
        starts.extend([300.0; 4]);
        assert!(after(&starts).p95_seconds > 180.0, "{:?}", after(&starts));
    }

    #[test]
    fn the_horizon_is_a_start_and_a_period() {
        assert_eq!(Startup { p95_seconds: 90.0, ..after(&[60.0]) }.horizon_seconds(2.0), 92.0);
    }

    #[test]
    fn an_engine_that_goes_away_before_it_is_ready_is_a_failure() {
        let mut state = StartupState::default();
        state.ordered(2, at(0));
        state.learn(&[starting("a", 1), starting("b", 1)], at(2));
        state.learn(&[starting("b", 1)], at(10));
        state.learn(&[ready("b", 1, 60)], at(60));
        state.learn(&[], at(70));
        let startup = state.quantiles(None);
        assert_eq!((startup.failures, startup.samples), (1, 1));
    }

    #[test]
    fn an_engine_released_before_it_is_ready_is_no_failure() {
        let mut state = StartupState::default();
        state.learn(&[starting("a", 1), starting("b", 1), starting("c", 1)], at(2));
        state.withdrawn(2, at(3));
        state.learn(&[starting("c", 1)], at(4));
        assert_eq!(state.quantiles(None).failures, 0);
        state.learn(&[], at(5));
        assert_eq!(state.quantiles(None).failures, 1, "only two were released");
    }

    #[test]
    fn a_release_long_ago_excuses_no_failure() {
        let mut state = StartupState::default();
        state.withdrawn(1, at(0));
        state.learn(&[starting("a", 900)], at(901));
        state.learn(&[], at(902));
        assert_eq!(state.quantiles(None).failures, 1);
    }

    #[test]
    fn replicas_that_never_come_are_counted_once() {
        let mut state = StartupState::default();
        state.ordered(3, at(0));
        state.learn(&[ready("a", 1, 60)], at(60));
        assert_eq!(state.quantiles(None).stock_outs, 0);
        for second in [400, 500, 600] {
            state.learn(&[ready("a", 1, 60)], at(second));
        }
        assert_eq!(state.quantiles(None).stock_outs, 2);
    }

    #[test]
    fn a_replica_that_comes_late_but_comes_is_a_slow_start() {
        let mut state = StartupState::default();
        state.ordered(1, at(0));
        state.learn(&[starting("a", 1)], at(300));
        state.learn(&[ready("a", 1, 310)], at(310));
        assert_eq!((state.seconds.back(), state.quantiles(None).stock_outs), (Some(&310.0), 0));
    }
}
