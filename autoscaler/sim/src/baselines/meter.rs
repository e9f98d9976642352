//! Load as a reactive policy can measure it.

use std::collections::VecDeque;

use crate::window::SlidingMean;
use crate::{Signals, Task};

/// Window over which demand is averaged.
const MEAN_SECONDS: f64 = 30.0;

/// Demand in replicas from what arrives: requests of the last service time are in service, each with its share of a
/// replica. What is in service or waits in a saturated fleet would say less.
#[derive(Debug)]
pub(super) struct Meter {
    arrived: Counter,
    service_seconds: f64,
    requests_per_second: f64,
    mean: SlidingMean,
}

impl Meter {
    pub(super) fn new(task: &Task) -> Self {
        let service_seconds = task.service_seconds.max(1.0);
        Self {
            arrived: Counter::new(service_seconds),
            service_seconds,
            requests_per_second: task.capacity.requests_per_second,
            mean: SlidingMean::new(MEAN_SECONDS),
        }
    }

    /// Demand now, and its mean over the last 30 s; call it at every decision.
    pub(super) fn read(&mut self, signals: &Signals<'_>) -> Load {
        let (increase, seconds) = self.arrived.increase(signals.now_seconds, signals.arrived_total);
        let rate = if seconds > 0.0 { increase / seconds.min(self.service_seconds) } else { 0.0 };
        let now = rate / self.requests_per_second;
        Load { now, mean: self.mean.push(signals.now_seconds, now) }
    }
}

/// Demand in replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) now: f64,
    pub(super) mean: f64,
}

/// Increase of a counter over the last seconds, interpolated between readings.
#[derive(Debug)]
pub(super) struct Counter {
    seconds: f64,
    readings: VecDeque<(f64, f64)>,
}

impl Counter {
    pub(super) fn new(seconds: f64) -> Self {
        // Counters begin at 0 with the trace.
        Self { seconds, readings: VecDeque::from([(0.0, 0.0)]) }
    }

    /// Takes a reading in; returns the increase and the seconds over which it happened: fewer than asked for at first.
    pub(super) fn increase(&mut self, now: f64, total: f64) -> (f64, f64) {
        self.readings.push_back((now, total));
        let from = now - self.seconds;
        while self.readings.get(1).is_some_and(|(at, _)| *at <= from) {
            self.readings.pop_front();
        }
        let Some(&(first_at, first)) = self.readings.front() else { return (0.0, 0.0) };
        if first_at >= from {
            return (total - first, now - first_at);
        }
        let &(next_at, next) = self.readings.get(1).unwrap_or(&(now, total));
        let then = first + (next - first) * (from - first_at) / (next_at - first_at);
        (total - then, self.seconds)
    }
}

/// Whole replicas of a demand.
pub(super) fn whole(demand: f64) -> u32 {
    (demand - 1e-9).ceil().max(0.0) as u32
}

/// Period of policies that have none of their own: ten seconds, or a step of the trace if that is longer.
pub(super) fn usual_period(demand: &crate::Demand) -> f64 {
    demand.step_seconds.max(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_increase_of_a_counter_is_that_of_the_window() {
        let mut counter = Counter::new(25.0);
        let increases: Vec<(f64, f64)> = [(10.0, 10.0), (20.0, 30.0), (30.0, 60.0), (40.0, 100.0)]
            .map(|(at, total)| counter.increase(at, total))
            .into();
        // At 30 s from 5 s on, where the counter was at 5; at 40 s from 15 s on, where it was at 20.
        assert_eq!(increases, [(10.0, 10.0), (30.0, 20.0), (55.0, 25.0), (80.0, 25.0)]);
    }
}
