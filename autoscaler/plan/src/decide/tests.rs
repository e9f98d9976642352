use std::collections::BTreeMap;

use autoscaler_forecast::Rhythm;

use super::*;
use crate::facts::*;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).expect("in range")
}

pub(crate) fn settings() -> Settings {
    Settings {
        min_replicas: 1,
        max_replicas: 12,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 60.0,
        startup_seconds: Some(30.0),
        control_period_seconds: 2.0,
        capacity_prior: 8.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::DAY,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    }
}

fn sample(now: Timestamp, running: f64, waiting: f64) -> EngineSample {
    EngineSample {
        at: now,
        has_vllm_metrics: true,
        running: Some(running),
        waiting: Some(waiting),
        kv_cache_usage: Some(0.1),
        finished_total: None,
        ttft: None,
        inter_token_latency: None,
        prompt_tokens: None,
        output_tokens: None,
        kv_cache_tokens: None,
    }
}

fn ready(id: usize, observation: Observation) -> EngineFacts {
    let phase = Phase::Ready { created: at(-600_000), since: at(-500_000) };
    EngineFacts { id: format!("ns/engine-{id}"), phase, milestones: Milestones::default(), observation }
}

fn starting(id: usize) -> EngineFacts {
    let phase = Phase::Starting { since: at(-5_000) };
    EngineFacts {
        id: format!("ns/starting-{id}"),
        phase,
        milestones: Milestones::default(),
        observation: Observation::Absent { reason: "starts".into() },
    }
}

fn absent() -> Observation {
    Observation::Absent { reason: "connection refused".into() }
}

fn router(now: Timestamp, queue: f64, in_flight: &[(usize, f64)]) -> RouterFacts {
    let engines: BTreeMap<_, _> = in_flight
        .iter()
        .map(|(id, count)| (format!("ns/engine-{id}"), RouterEngineView { in_flight: *count, ..Default::default() }))
        .collect();
    let sample = RouterSample {
        at: now,
        queue_depth: queue,
        received_total: 100.0,
        late_total: None,
        slow_total: None,
        unanswered_total: 0.0,
        arrivals_share: 1.0,
        engines,
    };
    RouterFacts::Replicas(vec![RouterReplica {
        id: "ns/router-0".into(),
        observation: RouterObservation::Seen(sample),
    }])
}

fn silent_router() -> RouterFacts {
    let observation = RouterObservation::Unreachable { reason: "timeout".into() };
    RouterFacts::Replicas(vec![RouterReplica { id: "ns/router-0".into(), observation }])
}

/// `replicas` Ready engines that run and queue as told.
fn fleet(now: Timestamp, loads: &[(f64, f64)]) -> Facts {
    let engines: Vec<_> = loads
        .iter()
        .enumerate()
        .map(|(id, (running, waiting))| ready(id, Observation::Seen(sample(now, *running, *waiting))))
        .collect();
    Facts {
        settings: settings(),
        replicas: engines.len() as u32,
        engines,
        router: router(now, 0.0, &[]),
        standby: None,
    }
}

fn reasons_of(decision: &Decision) -> Vec<&'static str> {
    decision.because.iter().map(|reason| reason.reason).collect()
}

/// Decides on the same facts every control period for `seconds`; the last decision.
fn hold_for(facts: impl Fn(Timestamp) -> Facts, state: &mut State, from: i64, seconds: i64) -> Decision {
    let mut last = None;
    for step in 0..=(seconds / 2) {
        let now = at(from + step * 2000);
        last = Some(decide(&facts(now), state, now));
    }
    last.expect("at least one step")
}

#[test]
fn a_queue_orders_several_replicas_at_once() {
    let mut state = State::default();
    let decision = decide(&fleet(at(0), &[(8.0, 24.0)]), &mut state, at(0));
    assert_eq!(decision.replicas, 4, "{decision:#?}");
    assert_eq!(reasons_of(&decision), ["Demand", "Backlog"]);
}

#[test]
fn replicas_that_start_are_credited_and_order_nothing_more() {
    let mut state = State::default();
    let facts = |now| {
        let mut facts = fleet(now, &[(8.0, 24.0)]);
        facts.engines.extend((0..5).map(starting));
        facts.replicas = 6;
        facts
    };
    let decision = hold_for(facts, &mut state, 0, 30);
    assert_eq!(decision.replicas, 6);
    assert!(reasons_of(&decision).contains(&reasons::STARTING), "{decision:#?}");
}

#[test]
fn a_decision_is_not_frozen_while_engines_start() {
    let mut state = State::default();
    let facts = |now| {
        let mut facts = fleet(now, &[(8.0, 60.0)]);
        facts.engines.extend((0..5).map(starting));
        facts.replicas = 6;
        facts
    };
    assert!(hold_for(facts, &mut state, 0, 30).replicas > 6);
}

#[test]
fn engines_about_to_be_ready_are_waited_for_but_not_for_ever() {
    let mut state = State::default();
    let idle = |now| {
        let mut facts = fleet(now, &[(0.0, 0.0)]);
        facts.engines.extend((0..3).map(starting));
        facts.replicas = 4;
        facts
    };
    hold_for(idle, &mut state, -200_000, 170);
    // They started 5 s before the clock of these tests, 95 % of starts take 30 s, and half of that is granted on top.
    let waited = hold_for(idle, &mut state, 30_000, 2);
    assert_eq!((waited.replicas, waited.because[0].reason), (4, reasons::AWAITING_STARTS), "{waited:#?}");
    assert_eq!(hold_for(idle, &mut state, 42_000, 2).replicas, 1);
}

#[test]
fn an_idle_fleet_falls_to_the_minimum_after_one_window_and_not_before() {
    let mut state = State::default();
    let idle = |now| fleet(now, &[(0.0, 0.0); 4]);
    let early = hold_for(idle, &mut state, 0, 58);
    assert_eq!((early.replicas, early.because[0].reason), (4, reasons::STABILIZING));
    let late = hold_for(idle, &mut state, 60_000, 2);
    assert_eq!(late.replicas, 1);
    assert!(reasons_of(&late).contains(&reasons::NO_TRAFFIC), "{late:#?}");
}

#[test]
fn one_unobserved_engine_forbids_scale_down_and_says_so() {
    let mut state = State::default();
    let facts = |now| {
        let mut facts = fleet(now, &[(0.0, 0.0); 3]);
        facts.engines.push(ready(9, absent()));
        facts.router = RouterFacts::NotConfigured;
        facts.replicas = 4;
        facts
    };
    let decision = hold_for(facts, &mut state, 0, 300);
    assert_eq!(decision.replicas, 4);
    assert_eq!(decision.because[0].reason, reasons::ENGINES_UNOBSERVED);
    assert!(decision.because[0].message.contains("1 of 4 Ready engines"), "{:?}", decision.because[0]);
}

#[test]
fn a_silent_router_replica_forbids_scale_down_but_not_scale_up() {
    let mut state = State::default();
    let idle = |now| Facts { router: silent_router(), ..fleet(now, &[(0.0, 0.0); 4]) };
    let decision = hold_for(idle, &mut state, 0, 300);
    assert_eq!((decision.replicas, decision.because[0].reason), (4, reasons::ROUTER_UNOBSERVED));
    let busy = |now| Facts { router: silent_router(), ..fleet(now, &[(8.0, 20.0); 4]) };
    assert!(hold_for(busy, &mut state, 302_000, 60).replicas > 4);
}

#[test]
fn when_everything_is_silent_the_replicas_stay() {
    let mut state = State::default();
    hold_for(|now| fleet(now, &[(8.0, 0.0); 4]), &mut state, 0, 10);
    let silent = |_| {
        let engines = (0..4).map(|id| ready(id, absent())).collect();
        Facts { settings: settings(), replicas: 4, engines, router: silent_router(), standby: None }
    };
    let decision = hold_for(silent, &mut state, 12_000, 600);
    assert_eq!((decision.replicas, decision.because[0].reason), (4, reasons::METRICS_SILENT));
}

#[test]
fn after_a_silence_one_whole_window_passes_before_a_step_down() {
    let mut state = State::default();
    let silent = |_| {
        let engines = (0..4).map(|id| ready(id, absent())).collect();
        Facts { settings: settings(), replicas: 4, engines, router: silent_router(), standby: None }
    };
    hold_for(silent, &mut state, 0, 600);
    let idle = |now| fleet(now, &[(0.0, 0.0); 4]);
    assert_eq!(hold_for(idle, &mut state, 602_000, 50).replicas, 4);
    assert_eq!(hold_for(idle, &mut state, 654_000, 12).replicas, 1);
}

#[test]
fn a_fleet_whose_engines_all_vanished_is_not_scaled_down() {
    let mut state = State::default();
    let gone = |now| Facts {
        settings: settings(),
        replicas: 5,
        engines: Vec::new(),
        router: router(now, 0.0, &[]),
        standby: None,
    };
    let decision = hold_for(gone, &mut state, 0, 300);
    assert_eq!((decision.replicas, decision.because[0].reason), (5, reasons::NO_ENGINES));
}

#[test]
fn limits_bound_the_replicas_and_say_so() {
    let mut state = State::default();
    let decision = decide(&fleet(at(0), &[(8.0, 500.0)]), &mut state, at(0));
    assert_eq!((decision.replicas, decision.because[0].reason), (12, reasons::LIMITED_BY_MAX));
    assert!(decision.is_limited() && decision.wanted > 12);
}

#[test]
fn a_paused_target_keeps_its_replicas_and_tells_what_it_would_take() {
    let mut state = State::default();
    let mut facts = fleet(at(0), &[(8.0, 24.0)]);
    facts.settings.paused = true;
    let decision = decide(&facts, &mut state, at(0));
    assert_eq!((decision.replicas, decision.because[0].reason), (1, reasons::PAUSED));
    assert_eq!(decision.because[0].message, "paused: 1 replicas stay, 4 would be taken");
}

#[test]
fn work_seen_by_engine_and_router_is_counted_once() {
    let mut state = State::default();
    let mut facts = fleet(at(0), &[(5.0, 1.0)]);
    facts.router = router(at(0), 2.0, &[(0, 6.0)]);
    let decision = decide(&facts, &mut state, at(0));
    assert_eq!((decision.demand.in_service, decision.demand.waiting), (5.0, 3.0));
}

#[test]
fn engines_without_vllm_metrics_are_scaled_by_what_the_router_sees_and_this_is_said() {
    let mut state = State::default();
    let mut facts = fleet(at(0), &[]);
    facts.engines = vec![ready(0, Observation::Seen(EngineSample::without_vllm_metrics(at(0))))];
    facts.replicas = 1;
    facts.router = router(at(0), 0.0, &[(0, 12.0)]);
    let decision = decide(&facts, &mut state, at(0));
    assert!(decision.replicas >= 2, "{decision:#?}");
    assert!(reasons_of(&decision).contains(&reasons::ROUTER_VIEW_ONLY));
}

#[test]
fn an_engine_that_is_ready_but_not_yet_scraped_is_no_loss_of_data() {
    let mut state = State::default();
    let mut facts = fleet(at(0), &[(1.0, 0.0)]);
    let phase = Phase::Ready { created: at(-30_000), since: at(-1_000) };
    facts.engines.push(EngineFacts {
        id: "ns/new".into(),
        phase,
        milestones: Milestones::default(),
        observation: absent(),
    });
    let decision = decide(&facts, &mut state, at(0));
    assert_eq!((decision.observed.unobserved, decision.observed.starting), (0, 1));
}

#[test]
fn a_held_request_wakes_a_fleet_at_zero() {
    let mut state = State::default();
    let mut facts = fleet(at(0), &[]);
    facts.settings.min_replicas = 0;
    assert_eq!(decide(&facts, &mut state, at(0)).replicas, 0);
    facts.router = router(at(2000), 1.0, &[]);
    assert_eq!(decide(&facts, &mut state, at(2000)).replicas, 1);
}

#[test]
fn zero_is_refused_without_a_router_to_wake_it() {
    let mut state = State::default();
    let idle = |now| {
        let mut facts = Facts { router: RouterFacts::NotConfigured, ..fleet(now, &[(0.0, 0.0)]) };
        facts.settings.min_replicas = 0;
        facts
    };
    let decision = hold_for(idle, &mut state, 0, 120);
    assert_eq!((decision.replicas, decision.because[0].reason), (1, reasons::ZERO_NEEDS_ROUTER));
}

#[test]
fn a_restart_continues_without_a_jump() {
    let mut state = State::default();
    let busy = |now| fleet(now, &[(6.0, 0.0); 4]);
    hold_for(busy, &mut state, 0, 300);
    let mut restored = State::from_json(&state.to_json()).expect("its own text");
    let (kept, fresh) =
        (decide(&busy(at(302_000)), &mut state, at(302_000)), decide(&busy(at(302_000)), &mut restored, at(302_000)));
    assert_eq!((kept.replicas, kept.because), (fresh.replicas, fresh.because));
}

mod lived;
mod orders;
mod properties;
mod schedule;
mod tier;

#[test]
fn the_words_of_the_reasons_are_these() {
    let mut state = State::default();
    let mut lines = Vec::new();
    let mut note = |title: &str, decision: &Decision| {
        lines.push(format!("{title}: {} replicas", decision.replicas));
        lines.extend(decision.because.iter().map(|r| format!("  {} ({:.2}): {}", r.reason, r.value, r.message)));
    };
    note("queue", &decide(&fleet(at(0), &[(8.0, 24.0)]), &mut state, at(0)));
    note("fallen", &decide(&fleet(at(2000), &[(0.0, 0.0); 6]), &mut state, at(2000)));
    let mut blind = fleet(at(4000), &[(8.0, 0.0); 5]);
    blind.engines.push(ready(9, absent()));
    blind.router = silent_router();
    blind.replicas = 6;
    note("blind", &decide(&blind, &mut State::default(), at(4000)));
    note("flood", &decide(&fleet(at(0), &[(8.0, 900.0)]), &mut State::default(), at(0)));
    note("idle", &decide(&fleet(at(0), &[(0.0, 0.0)]), &mut State::default(), at(0)));
    insta::assert_snapshot!(lines.join("\n"));
}

/// An hour of steady load at plan steps of ten seconds: the plan has begun to act.
fn experienced(state: &mut State) -> i64 {
    let seconds = 4000;
    hold_for(|now| fleet(now, &[(6.0, 0.0); 4]), state, 0, seconds);
    seconds * 1000
}

#[test]
fn a_plan_survives_a_restart_with_its_number() {
    let mut state = State::default();
    let end = experienced(&mut state);
    let now = at(end + 20_000);
    let facts = fleet(now, &[(6.0, 0.0); 4]);
    let mut restarted = State::from_json(&state.to_json()).expect("its own text");
    let (kept, fresh) = (decide(&facts, &mut state, now), decide(&facts, &mut restarted, now));
    assert!(kept.plan.is_some() && fresh.plan.is_some(), "{kept:#?} {fresh:#?}");
    assert_eq!(kept.replicas, fresh.replicas);
}
