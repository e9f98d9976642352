use jiff::Timestamp;

use super::*;
use crate::capacity::CapacitySource;
use crate::facts::{Objective, RouterReplica, RouterSample, Settings};

fn facts(seconds: f64, received: f64, queue: f64) -> (Facts, Timestamp) {
    let now = Timestamp::from_millisecond(1_700_000_000_000 + (seconds * 1000.0) as i64).expect("in range");
    let settings = Settings {
        min_replicas: 1,
        max_replicas: 10,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 3.0,
        startup_seconds: Some(20.0),
        control_period_seconds: 0.25,
        capacity_prior: 8.0,
        paused: false,
    };
    let sample = RouterSample {
        at: now,
        queue_depth: queue,
        received_total: received,
        arrivals_share: 1.0,
        engines: BTreeMap::new(),
    };
    let replica = RouterReplica { id: "r".into(), observation: RouterObservation::Seen(sample) };
    (Facts { settings, replicas: 1, engines: Vec::new(), router: RouterFacts::Replicas(vec![replica]) }, now)
}

fn capacity() -> Capacity {
    Capacity { requests: 8.0, source: CapacitySource::Prior, ttft_seconds: 0.0, objective_out_of_reach: false }
}

/// Arrivals at `rate(t)` a second for `seconds`, looked at each quarter of a second.
fn after(rate: impl Fn(f64) -> f64, seconds: f64) -> Demand {
    let mut state = DemandState::default();
    let (mut received, mut demand) = (0.0, Demand::default());
    for step in 0..(seconds * 4.0) as u32 {
        let time = f64::from(step) * 0.25;
        received += rate(time) * 0.25;
        let (facts, now) = facts(time, received, 0.0);
        let look = Look::at(&facts, now);
        state.learn(&facts, &look, if step == 0 { 0.0 } else { 0.25 }, 20.0);
        demand = state.ahead(&look, &capacity(), &facts, 20.0);
    }
    demand
}

#[test]
fn steady_arrivals_are_forecast_as_they_are() {
    let demand = after(|_| 12.0, 200.0);
    assert!((demand.arrivals_per_second.expect("seen") - 12.0).abs() < 0.1, "{demand:?}");
    assert_eq!(demand.forecast_per_second, demand.arrivals_per_second);
}

#[test]
fn a_ramp_is_followed_to_the_end_of_the_start_up_time() {
    // 1 more a second each second; at 200 s there are 200/s, and 220/s when an engine ordered then is Ready.
    let demand = after(|time| time, 200.0);
    let forecast = demand.forecast_per_second.expect("seen");
    assert!((210.0..=222.0).contains(&forecast), "{demand:?}");
}

#[test]
fn growth_no_larger_than_chance_is_not_growth() {
    let demand = after(|time| if time > 195.0 { 1.1 } else { 1.0 }, 200.0);
    assert_eq!(demand.forecast_per_second, demand.arrivals_per_second, "{demand:?}");
}

#[test]
fn falling_arrivals_are_not_extrapolated() {
    let demand = after(|time| 300.0 - time, 200.0);
    assert_eq!(demand.forecast_per_second, demand.arrivals_per_second, "{demand:?}");
}

#[test]
fn a_restarted_router_is_no_burst_of_arrivals() {
    let mut state = DemandState::default();
    for (step, received) in [1_000_000.0, 1_000_002.0, 1.0, 3.0].into_iter().enumerate() {
        let (facts, now) = facts(step as f64, received, 0.0);
        state.learn(&facts, &Look::at(&facts, now), if step == 0 { 0.0 } else { 1.0 }, 20.0);
    }
    assert!(state.arrivals_fast.0.expect("seen") < 3.0);
}

#[test]
fn a_backlog_that_is_served_quickly_needs_few_slots() {
    let state = DemandState::default();
    assert_eq!(state.backlog(100.0, None, 20.0), 100.0);
    assert_eq!(state.backlog(100.0, Some(1.0), 20.0), 10.0);
    assert_eq!(state.backlog(100.0, Some(60.0), 20.0), 100.0);
}

#[test]
fn the_margin_grows_with_the_root_and_shrinks_with_patience() {
    let (mut strict, _) = facts(0.0, 0.0, 0.0);
    let at = |facts: &Facts, slots, service| margin(slots, facts, &capacity(), service);
    assert_eq!(at(&strict, 0.0, None), 0.0);
    let (small, large) = (at(&strict, 16.0, None), at(&strict, 64.0, None));
    assert!((large / small - 2.0).abs() < 1e-6, "{small} {large}");
    assert!((7.0..11.0).contains(&small), "{small}");
    assert!(at(&strict, 16.0, Some(1.0)) < 0.5 * small);
    strict.settings.objective.attainment = 0.5;
    assert!(at(&strict, 16.0, None) < 0.3 * small);
}
