//! Start-up time: learned from order to Ready, its upper quantile is how far ahead the plan looks.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::{EngineFacts, Phase};

/// Start-up time believed before the first engine was seen to start: cached weights and compile cache, one GPU.
pub const STARTUP_PRIOR_SECONDS: f64 = 120.0;

/// Starts remembered: enough for a 95 % quantile that is not the maximum, small enough for the status of an object.
const REMEMBERED_STARTS: usize = 32;

/// Orders waiting for their engine; more than these in one start-up time are beyond any fleet we scale.
const OPEN_ORDERS: usize = 64;

/// Learned start-up time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Startup {
    /// Median, in seconds.
    pub p50_seconds: f64,
    /// Upper quantile that the plan looks ahead over, in seconds.
    pub p95_seconds: f64,
    /// Starts it was learned from; 0 means prior or override.
    pub samples: u32,
}

/// What is remembered of starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartupState {
    /// Seconds from order to Ready, oldest first.
    seconds: VecDeque<f64>,
    /// Engines Ready at or before this are in `seconds`.
    learned_until: Option<Timestamp>,
    /// Orders whose engines have not appeared.
    orders: VecDeque<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Order {
    at: Timestamp,
    replicas: u32,
}

impl StartupState {
    /// Remembers that `replicas` more were ordered.
    pub(crate) fn ordered(&mut self, replicas: u32, now: Timestamp) {
        self.orders.push_back(Order { at: now, replicas });
        while self.orders.len() > OPEN_ORDERS {
            self.orders.pop_front();
        }
    }

    /// Forgets orders that were taken back before their engine appeared.
    pub(crate) fn withdrawn(&mut self) {
        self.orders.clear();
    }

    /// Learns from engines that became Ready since the last time.
    pub(crate) fn learn(&mut self, engines: &[EngineFacts]) {
        let mut fresh: Vec<(Timestamp, Timestamp)> = engines
            .iter()
            .filter_map(|engine| match engine.phase {
                Phase::Ready { created, since } if self.learned_until.is_none_or(|until| since > until) => {
                    Some((since, created))
                }
                Phase::Ready { .. } | Phase::Starting { .. } | Phase::Draining => None,
            })
            .collect();
        fresh.sort_unstable();
        for (ready, created) in fresh {
            let from = self.take_order(created).unwrap_or(created);
            let seconds = seconds_between(from, ready);
            if seconds > 0.0 {
                self.seconds.push_back(round(seconds));
                if self.seconds.len() > REMEMBERED_STARTS {
                    self.seconds.pop_front();
                }
            }
            self.learned_until = Some(ready);
        }
    }

    /// The order that an engine created then answers to: the last one before it.
    fn take_order(&mut self, created: Timestamp) -> Option<Timestamp> {
        let index = self.orders.iter().rposition(|order| order.at <= created)?;
        let order = self.orders.get_mut(index)?;
        let at = order.at;
        order.replicas = order.replicas.saturating_sub(1);
        if order.replicas == 0 {
            self.orders.remove(index);
        }
        Some(at)
    }

    /// The learned quantiles, or the operator's number, or the prior.
    pub(crate) fn quantiles(&self, fixed: Option<f64>) -> Startup {
        if let Some(seconds) = fixed {
            return Startup { p50_seconds: seconds, p95_seconds: seconds, samples: 0 };
        }
        if self.seconds.is_empty() {
            return Startup { p50_seconds: STARTUP_PRIOR_SECONDS, p95_seconds: STARTUP_PRIOR_SECONDS, samples: 0 };
        }
        let mut sorted: Vec<f64> = self.seconds.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            // Nearest rank: with fewer than 20 starts the 95 % quantile is the slowest of them.
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1]
        };
        Startup { p50_seconds: at(0.5), p95_seconds: at(0.95), samples: sorted.len() as u32 }
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
            observation: crate::Observation::Absent { reason: String::new() },
        }
    }

    #[test]
    fn start_up_is_counted_from_the_order_not_from_the_pod() {
        let mut state = StartupState::default();
        state.ordered(2, at(0));
        state.learn(&[ready("a", 10, 70), ready("b", 12, 80)]);
        let startup = state.quantiles(None);
        assert_eq!((startup.p50_seconds, startup.p95_seconds, startup.samples), (70.0, 80.0, 2));
    }

    #[test]
    fn an_engine_nobody_ordered_counts_from_its_creation() {
        let mut state = StartupState::default();
        state.learn(&[ready("a", 10, 70)]);
        assert_eq!(state.quantiles(None).p95_seconds, 60.0);
    }

    #[test]
    fn an_engine_is_learned_once() {
        let mut state = StartupState::default();
        for _ in 0..5 {
            state.learn(&[ready("a", 0, 60)]);
        }
        assert_eq!(state.quantiles(None).samples, 1);
    }

    #[test]
    fn a_withdrawn_order_does_not_lengthen_a_later_start() {
        let mut state = StartupState::default();
        state.ordered(1, at(0));
        state.withdrawn();
        state.learn(&[ready("a", 500, 560)]);
        assert_eq!(state.quantiles(None).p95_seconds, 60.0);
    }

    #[test]
    fn the_prior_holds_until_an_engine_started_and_an_override_always() {
        let mut state = StartupState::default();
        assert_eq!(state.quantiles(None).p95_seconds, STARTUP_PRIOR_SECONDS);
        state.learn(&[ready("a", 0, 60)]);
        assert_eq!(state.quantiles(Some(0.5)).p95_seconds, 0.5);
    }

    #[test]
    fn only_the_last_starts_are_remembered() {
        let mut state = StartupState::default();
        for start in 0..100 {
            state.learn(&[ready("a", start * 1000, start * 1000 + 10 + start)]);
        }
        let startup = state.quantiles(None);
        assert_eq!(startup.samples as usize, REMEMBERED_STARTS);
        assert!(startup.p50_seconds > 90.0, "{startup:?}");
    }
}
