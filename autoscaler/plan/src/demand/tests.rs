use jiff::Timestamp;

use super::*;
use crate::capacity::CapacitySource;
use autoscaler_forecast::Rhythm;

use crate::facts::{
    EngineFacts, EngineSample, Objective, Observation, Phase, Queue, RouterEngineView, RouterFacts, RouterObservation,
    RouterReplica, RouterSample, Settings, SumCount,
};
use crate::rate::RateLimits;

fn facts(seconds: f64, received: f64, queue: f64) -> (Facts, Timestamp) {
    let now = Timestamp::from_millisecond(1_700_000_000_000 + (seconds * 1000.0) as i64).expect("in range");
    let settings = Settings {
        min_replicas: 1,
        max_replicas: 10,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 3.0,
        rate_limits: RateLimits::default(),
        startup_seconds: Some(20.0),
        control_period_seconds: 0.25,
        capacity_prior: 8.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::DAY,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    };
    let sample = RouterSample {
        at: now,
        queue_depth: queue,
        received_total: received,
        late_total: None,
        slow_total: None,
        unanswered_total: 0.0,
        arrivals_share: 1.0,
        engines: BTreeMap::new(),
    };
    let replica = RouterReplica { id: "r".into(), observation: RouterObservation::Seen(sample) };
    (
        Facts {
            settings,
            replicas: 1,
            engines: Vec::new(),
            router: RouterFacts::Replicas(vec![replica]),
            standby: None,
        },
        now,
    )
}

fn capacity() -> Capacity {
    Capacity {
        requests: 8.0,
        source: CapacitySource::Prior,
        ttft_seconds: 0.0,
        objective_out_of_reach: false,
        service_seconds: None,
        present_service_seconds: None,
        confidence: 0.0,
        prompt_tokens: None,
        output_tokens: None,
    }
}

fn times(elapsed_seconds: f64) -> Times {
    Times {
        elapsed_seconds,
        startup_seconds: 20.0,
        next_seconds: 20.0,
        service_seconds: Some(2.0),
        present_service_seconds: None,
        capacity_requests: 8.0,
        ttft_seconds: 1.0,
        serves_in_batches: false,
    }
}

/// Arrivals at `rate(t)` a second for `seconds`, looked at each quarter of a second.
fn after(rate: impl Fn(f64) -> f64, seconds: f64) -> Demand {
    let mut state = DemandState::default();
    let (mut received, mut demand) = (0.0, Demand::default());
    for step in 0..(seconds * 4.0) as u32 {
        let time = f64::from(step) * 0.25;
        received += rate(time) * 0.25;
        let (facts, now) = facts(time, received, 1.0);
        let look = Look::at(&facts, now);
        state.learn(&facts, &look, times(if step == 0 { 0.0 } else { 0.25 }));
        demand = state.at(&look, &capacity(), times(0.25));
    }
    demand
}

#[test]
fn demand_is_what_arrives_times_how_long_it_stays_whatever_is_served() {
    // No engine serves anything here: 12/s of 2 s each are 24 at once, 3 replicas of 8.
    let demand = after(|_| 12.0, 200.0);
    assert!((demand.arrivals_per_second.expect("seen") - 12.0).abs() < 0.1, "{demand:?}");
    assert!((demand.replicas - 3.0).abs() < 0.01, "{demand:?}");
}

#[test]
fn demand_falls_as_soon_as_arrivals_do() {
    let demand = after(|time| if time < 100.0 { 12.0 } else { 0.0 }, 110.0);
    assert!(demand.replicas < 0.1, "{demand:?}");
}

#[test]
fn a_restarted_router_is_no_burst_of_arrivals() {
    let mut state = DemandState::default();
    for (step, received) in [1_000_000.0, 1_000_002.0, 1.0, 3.0].into_iter().enumerate() {
        let (facts, now) = facts(step as f64, received, 0.0);
        state.learn(&facts, &Look::at(&facts, now), times(if step == 0 { 0.0 } else { 1.0 }));
    }
    assert!(state.arrivals.0.expect("seen") < 3.0);
}

#[test]
fn requests_that_no_engine_answered_make_no_answer_look_shorter() {
    // An engine that tells only what it runs: 40 at once all the time. Of ten requests a second six are turned away.
    let mut state = DemandState::default();
    let mut demand = Demand::default();
    for step in 0..800_u32 {
        let time = f64::from(step) * 0.25;
        let (mut facts, now) = facts(time, 10.0 * time, 0.0);
        let RouterFacts::Replicas(replicas) = &mut facts.router else { unreachable!() };
        let RouterObservation::Seen(sample) = &mut replicas[0].observation else { unreachable!() };
        sample.unanswered_total = 6.0 * time;
        sample.engines.insert("a".to_owned(), RouterEngineView { in_flight: 40.0, ..RouterEngineView::default() });
        facts.engines = vec![EngineFacts {
            id: "a".to_owned(),
            phase: Phase::Ready { created: now, since: now },
            milestones: crate::facts::Milestones::default(),
            observation: Observation::Seen(EngineSample::without_vllm_metrics(now)),
        }];
        let look = Look::at(&facts, now);
        let unmodelled = Times { service_seconds: None, ..times(if step == 0 { 0.0 } else { 0.25 }) };
        state.learn(&facts, &look, unmodelled);
        demand = state.at(&look, &capacity(), unmodelled);
    }
    let stay = demand.service_seconds.expect("seen");
    assert!((stay - 10.0).abs() < 0.1, "four a second keep forty places for ten seconds each: {stay}");
    assert!((demand.replicas - 12.5).abs() < 0.5, "all ten a second would need a hundred places: {demand:?}");
}

#[test]
fn a_backlog_that_is_served_quickly_needs_little_room() {
    let floor = |service_seconds| {
        let (facts, now) = facts(0.0, 0.0, 80.0);
        let look = Look::at(&facts, now);
        DemandState::default().at(&look, &capacity(), Times { service_seconds, ..times(0.25) }).floor_replicas
    };
    assert_eq!((floor(None), floor(Some(1.0)), floor(Some(60.0))), (10.0, 1.0, 10.0));
}

#[test]
fn slow_streams_are_late_unless_their_events_hold_several_tokens() {
    let late_when_an_event_takes = |event_seconds: f64| {
        let mut state = DemandState::default();
        for (seconds, slow) in [(0.0, 3.0), (0.5, 4.0)] {
            let (mut facts, now) = facts(seconds, 100.0, 0.0);
            let RouterFacts::Replicas(replicas) = &mut facts.router else { unreachable!() };
            let RouterObservation::Seen(sample) = &mut replicas[0].observation else { unreachable!() };
            (sample.late_total, sample.slow_total) = (Some(7.0), Some(slow));
            let events = SumCount { sum: 1000.0 * event_seconds, count: 1000.0 };
            let view = RouterEngineView { inter_token_latency: Some(events), ..RouterEngineView::default() };
            sample.engines.insert("a".to_owned(), view);
            let tokens = SumCount { sum: 40.0, count: 2000.0 };
            let sample = EngineSample {
                running: Some(0.0),
                waiting: Some(0.0),
                inter_token_latency: Some(tokens),
                ..EngineSample::without_vllm_metrics(now)
            };
            facts.engines = vec![EngineFacts {
                id: "a".to_owned(),
                phase: Phase::Ready { created: now, since: now },
                milestones: crate::facts::Milestones::default(),
                observation: Observation::Seen(sample),
            }];
            state.learn(&facts, &Look::at(&facts, now), times(seconds));
        }
        state.late_per_second
    };
    assert_eq!(late_when_an_event_takes(0.021), Some(2.0));
    assert_eq!(late_when_an_event_takes(0.08), Some(0.0), "four tokens an event");
}

#[test]
fn late_requests_are_known_only_where_every_router_counts_them() {
    let late_after = |counts: [Option<f64>; 2]| {
        let mut state = DemandState::default();
        let mut demand = Demand::default();
        for (seconds, late_total) in [0.0, 0.5].into_iter().zip(counts) {
            let (mut facts, now) = facts(seconds, 100.0, 0.0);
            let RouterFacts::Replicas(replicas) = &mut facts.router else { unreachable!() };
            let RouterObservation::Seen(sample) = &mut replicas[0].observation else { unreachable!() };
            sample.late_total = late_total;
            let look = Look::at(&facts, now);
            state.learn(&facts, &look, times(seconds));
            demand = state.at(&look, &capacity(), times(0.5));
        }
        demand.late_per_second
    };
    assert_eq!(late_after([Some(3.0), Some(5.0)]), Some(4.0));
    assert_eq!(late_after([Some(3.0), None]), None);
    assert_eq!(late_after([None, Some(3.0)]), None, "what it counted before is not of this time");
}

/// What a fleet of one engine shows at a time: arrivals and answers in a second, in service, waiting in the router.
struct Shown {
    arrivals: f64,
    answers: f64,
    in_service: f64,
    waiting: f64,
}

/// Demand after `seconds` of what is `shown`, looked at each quarter of a second, of an engine that carries `carries` requests and
/// whose model says that each stays for 2 s.
fn demand_of(seconds: f64, carries: f64, shown: impl Fn(f64) -> Shown) -> Demand {
    let (mut state, mut demand) = (DemandState::default(), Demand::default());
    let (mut received, mut finished) = (0.0, 0.0);
    for step in 0..(seconds * 4.0) as u32 {
        let time = f64::from(step) * 0.25;
        let Shown { arrivals, answers, in_service, waiting } = shown(time);
        received += arrivals * 0.25;
        finished += answers * 0.25;
        let (mut facts, now) = facts(time, received, waiting);
        facts.engines = vec![EngineFacts {
            id: "a".to_owned(),
            phase: Phase::Ready { created: now, since: now },
            milestones: crate::facts::Milestones::default(),
            observation: Observation::Seen(EngineSample {
                has_vllm_metrics: true,
                running: Some(in_service),
                waiting: Some(0.0),
                finished_total: Some(finished),
                ..EngineSample::without_vllm_metrics(now)
            }),
        }];
        let look = Look::at(&facts, now);
        let elapsed = if step == 0 { 0.0 } else { 0.25 };
        let times = Times { present_service_seconds: Some(2.0), capacity_requests: carries, ..times(elapsed) };
        state.learn(&facts, &look, times);
        demand = state.at(&look, &capacity(), times);
    }
    demand
}

#[test]
fn answers_that_became_longer_are_seen_in_what_is_in_service_before_they_end() {
    let demand = demand_of(220.0, 100.0, |time| {
        let in_service = if time < 100.0 { 20.0 } else { 60.0 };
        Shown { arrivals: 10.0, answers: 10.0, in_service, waiting: 0.0 }
    });
    assert!((demand.service_seconds.expect("known") - 6.0).abs() < 0.2, "{demand:?}");
    assert!((demand.replicas - 60.0 / 8.0).abs() < 0.2, "{demand:?}");
}

#[test]
fn a_full_engine_that_holds_no_more_makes_no_request_look_shorter() {
    let demand = demand_of(200.0, 8.0, |_| Shown { arrivals: 12.0, answers: 4.0, in_service: 8.0, waiting: 2.0 });
    assert!((demand.replicas - 3.0).abs() < 0.01, "{demand:?}");
}

#[test]
fn a_fleet_that_cannot_keep_up_shows_by_how_much_whatever_the_model_says() {
    // Of two requests a second one is served every two seconds: the fleet is a quarter of what is asked for.
    let demand = demand_of(100.0, 8.0, |_| Shown { arrivals: 2.0, answers: 0.5, in_service: 8.0, waiting: 60.0 });
    assert!((demand.replicas - OVERLOAD_SHARE * 4.0).abs() < 0.1, "{demand:?}");
}
