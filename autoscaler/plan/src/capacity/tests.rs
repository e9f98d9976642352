use jiff::Timestamp;

use super::*;
use crate::facts::SumCount;

const OBJECTIVE: Objective = Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 };

/// An engine whose step takes `base + slope · n` seconds, watched each `period` seconds.
struct Engine {
    base: f64,
    slope: f64,
    period: f64,
    now: f64,
    intervals: Intervals,
    between: SumCount,
    first: SumCount,
}

impl Engine {
    fn new(base: f64, slope: f64, period: f64) -> Self {
        let none = SumCount { sum: 0.0, count: 0.0 };
        Self { base, slope, period, now: 0.0, intervals: Intervals::default(), between: none, first: none }
    }

    /// Serves `n` requests at once for one period while `waiting` wait, and is looked at.
    fn serve(&mut self, state: &mut CapacityState, n: f64, waiting: f64) {
        self.now += self.period;
        let step = self.base + self.slope * n;
        let tokens = (n * self.period / step).floor();
        self.between.count += tokens;
        self.between.sum += tokens * step;
        self.first.count += 1.0;
        self.first.sum += 2.0 * step + if waiting > 0.0 { 30.0 } else { 0.0 };
        let load = EngineLoad {
            at: Timestamp::from_millisecond(1_700_000_000_000 + (self.now * 1000.0) as i64).expect("in range"),
            in_service: n,
            waiting,
            queue: 0.0,
            is_busiest: true,
            ttft: Some(self.first),
            inter_token_latency: Some(self.between),
            period_seconds: self.period,
        };
        state.learn(&mut self.intervals, &load, &OBJECTIVE);
    }
}

fn learned(base: f64, slope: f64, period: f64, loads: &[f64]) -> Capacity {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(base, slope, period));
    for _ in 0..20 {
        for &n in loads {
            for _ in 0..8 {
                engine.serve(&mut state, n, 0.0);
            }
        }
    }
    state.at(&OBJECTIVE, 32.0)
}

#[test]
fn the_load_at_which_tokens_get_too_slow_is_the_capacity() {
    // 10 ms + 2 ms a request: 50 ms at 20 requests.
    for period in [0.25, 2.0] {
        let capacity = learned(0.010, 0.002, period, &[2.0, 6.0, 10.0, 14.0]);
        assert_eq!(capacity.source, CapacitySource::InterTokenLatency);
        assert!((17.0..=20.5).contains(&capacity.requests), "{period}: {capacity:?}");
    }
}

#[test]
fn nothing_is_believed_far_beyond_what_was_seen() {
    let capacity = learned(0.001, 0.00001, 2.0, &[1.0, 2.0, 3.0]);
    assert!(capacity.requests <= 32.0, "{capacity:?}");
    let capacity = learned(0.001, 0.00001, 2.0, &[20.0, 40.0, 60.0]);
    assert!((100.0..=120.0).contains(&capacity.requests), "{capacity:?}");
}

#[test]
fn an_engine_seen_full_carries_what_it_ran_meanwhile() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.001, 0.0001, 0.25));
    for _ in 0..8 {
        engine.serve(&mut state, 4.0, 7.0);
    }
    let capacity = state.at(&OBJECTIVE, 32.0);
    assert_eq!((capacity.requests, capacity.source), (4.0, CapacitySource::Saturation));
}

#[test]
fn a_queue_that_stands_while_the_batch_still_grows_is_not_full() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.001, 0.0001, 0.25));
    for n in [1.0, 4.0, 9.0, 16.0] {
        engine.serve(&mut state, n, 7.0);
    }
    assert_eq!(state.at(&OBJECTIVE, 32.0).source, CapacitySource::Prior);
}

#[test]
fn a_limit_that_has_risen_is_seen_when_more_runs_and_nobody_waits() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.001, 0.0001, 0.25));
    for _ in 0..8 {
        engine.serve(&mut state, 4.0, 7.0);
    }
    for _ in 0..3 {
        engine.serve(&mut state, 9.0, 0.0);
    }
    assert!(state.at(&OBJECTIVE, 32.0).requests >= 9.0);
}

#[test]
fn an_objective_nobody_can_meet_is_said_and_does_not_order_a_fleet() {
    let capacity = learned(0.2, 0.001, 2.0, &[1.0, 2.0, 4.0, 8.0]);
    assert!(capacity.objective_out_of_reach);
    assert_eq!((capacity.requests, capacity.source), (32.0, CapacitySource::Prior));
}

#[test]
fn first_tokens_that_waited_in_a_queue_do_not_lower_the_capacity() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.001, 0.0001, 2.0));
    for n in [2.0, 4.0, 6.0, 8.0].repeat(10) {
        engine.serve(&mut state, n, 5.0);
    }
    assert_ne!(state.at(&OBJECTIVE, 32.0).source, CapacitySource::TimeToFirstToken);
}

#[test]
fn a_restarted_engine_whose_counters_fell_teaches_nothing_wrong() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.010, 0.002, 2.0));
    for n in [2.0, 6.0, 10.0, 14.0].repeat(20) {
        engine.serve(&mut state, n, 0.0);
        engine.serve(&mut state, n, 0.0);
    }
    let before = state.at(&OBJECTIVE, 32.0).requests;
    engine.between = SumCount { sum: 0.0, count: 0.0 };
    engine.first = SumCount { sum: 0.0, count: 0.0 };
    for _ in 0..4 {
        engine.serve(&mut state, 10.0, 0.0);
    }
    assert!((state.at(&OBJECTIVE, 32.0).requests - before).abs() < 1.0);
}

#[test]
fn one_wild_sample_moves_the_capacity_little() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::new(0.010, 0.002, 2.0));
    for n in [2.0, 6.0, 10.0, 14.0].repeat(20) {
        engine.serve(&mut state, n, 0.0);
        engine.serve(&mut state, n, 0.0);
    }
    let before = state.at(&OBJECTIVE, 32.0).requests;
    engine.between.sum += 1000.0;
    engine.serve(&mut state, 14.0, 0.0);
    let after = state.at(&OBJECTIVE, 32.0).requests;
    assert!(after > 0.5 * before, "{before} → {after}");
}
