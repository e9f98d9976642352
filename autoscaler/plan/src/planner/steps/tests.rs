use jiff::SignedDuration;

use super::*;
use crate::capacity::CapacitySource;
use crate::decision::Observed;
use crate::facts::Objective;
use crate::past::{Past, ReplicaUnits};
use crate::rate::RateLimits;
use crate::standby::Standby;

/// A minute is a day here.
const STEP_SECONDS: f64 = 0.25;
const SEASON: u64 = 240;
const BEGIN: i64 = 1_700_006_400;

fn settings() -> Settings {
    Settings {
        min_replicas: 1,
        max_replicas: 50,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 1.0,
        rate_limits: RateLimits::default(),
        startup_seconds: None,
        control_period_seconds: STEP_SECONDS,
        capacity_prior: 32.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::new(60.0, 1.0 / 80.0, STEP_SECONDS).expect("valid"),
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    }
}

/// A day with a broad hill and a spike, and a little of chance.
fn arrivals(step: u64) -> f64 {
    let phase = (step % SEASON) as f64 / SEASON as f64;
    let hill = 40.0 + 35.0 * (std::f64::consts::TAU * phase).sin();
    let spike = if (0.6..0.65).contains(&phase) { 60.0 } else { 0.0 };
    let chance = ((step.wrapping_mul(2_654_435_761) >> 7) % 100) as f64 / 20.0;
    hill + spike + chance
}

const UNITS: ReplicaUnits = ReplicaUnits { service_seconds: STEP_SECONDS, requests: 2.5 };

fn at(step: u64) -> Timestamp {
    let begin = Timestamp::from_second(BEGIN).expect("in range");
    begin.checked_add(SignedDuration::from_millis((step * 250) as i64)).expect("in range")
}

/// Lives through the steps `from..to`, with as many replicas Ready as were planned a start-up time ago.
fn live(state: &mut PlanState, from: u64, to: u64) -> Vec<Option<Planned>> {
    live_on(&settings(), arrivals, None, state, from, to)
}

fn capacity() -> Capacity {
    Capacity {
        requests: UNITS.requests,
        source: CapacitySource::Saturation,
        ttft_seconds: 0.0,
        objective_out_of_reach: false,
        service_seconds: Some(UNITS.service_seconds),
        present_service_seconds: Some(UNITS.service_seconds),
        confidence: 1.0,
        prompt_tokens: None,
        output_tokens: None,
    }
}

fn live_on(
    settings: &Settings,
    arrivals: fn(u64) -> f64,
    standby: Option<&StandbyTier>,
    state: &mut PlanState,
    from: u64,
    to: u64,
) -> Vec<Option<Planned>> {
    let capacity = capacity();
    let startup = startup();
    let starts = Starts { startup: &startup, standby };
    let mut plans = Vec::new();
    for step in from..to {
        let demand = Demand { replicas: arrivals(step) * UNITS.replicas_per_arrival(), ..Demand::default() };
        // What is Ready in this step is known once it is planned.
        let mut planned = state.clone();
        planned.advance(settings, &demand, 0.0, &Look::default(), starts, at(step));
        let ready = planned.planner.0.as_ref().map_or(0, |(_, planner)| planner.shadows[planner.rung].ready_now);
        let look = Look { observed: Observed { ready, ..Observed::default() }, ..Look::default() };
        let missed = missed(&demand, &look, &capacity, settings);
        plans.push(state.advance(settings, &demand, missed, &look, starts, at(step)));
    }
    plans
}

fn startup() -> Startup {
    crate::startup::StartupState::default().quantiles(Some(3.0))
}

fn rehearsed(from: u64, to: u64) -> Rehearsed {
    let past = Past {
        begin: at(from),
        step_seconds: STEP_SECONDS,
        per_second: (from..to).map(|step| Some(arrivals(step))).collect(),
    };
    Rehearsed::of(&past, &settings(), &UNITS, startup().p95_seconds).expect("a usable past")
}

#[test]
fn a_plan_that_is_handed_the_past_decides_like_one_that_lived_through_it() {
    let (restart, end) = (5 * SEASON + 100, 7 * SEASON);
    let mut lived = PlanState::default();
    live(&mut lived, 0, restart);
    // The other one begins with nothing, lives ten steps, and is then told of what was before the last five.
    let mut told = PlanState::default();
    live(&mut told, restart - 10, restart);
    assert!(told.take_up(rehearsed(0, restart - 5), settings().rhythm));
    let (lived, told) = (live(&mut lived, restart, end), live(&mut told, restart, end));
    let number = |planned: &Option<Planned>| planned.as_ref().map(|planned| planned.replicas);
    // The plan of the step in which it is handed the past is still the old one.
    let pairs: Vec<(u32, u32)> = lived[1..]
        .iter()
        .zip(&told[1..])
        .map(|(left, right)| (number(left).expect("a plan"), number(right).expect("a plan from the first step on")))
        .collect();
    let apart = pairs.iter().filter(|(left, right)| left != right).count();
    // A demand right on the edge of a layer falls to either side by rounding.
    assert!(apart * 50 <= pairs.len(), "{apart} of {} plans differ", pairs.len());
    assert!(pairs.iter().all(|(left, right)| left.abs_diff(*right) <= 1));
}

#[test]
fn a_record_of_its_own_over_a_season_survives_the_past_it_is_handed() {
    // Not at the time of a choice, which would be another one after a restart.
    let restart = 3 * SEASON + 5;
    let mut state = PlanState::default();
    live(&mut state, 0, restart);
    let stored = serde_json::to_string(&state).expect("a state");
    let mut resumed: PlanState = serde_json::from_str(&stored).expect("its own text");
    live(&mut resumed, restart, restart + 1);
    assert!(resumed.take_up(rehearsed(0, restart - 1), settings().rhythm));
    let (_, planner) = resumed.planner.0.as_ref().expect("there");
    let (_, before) = state.planner.0.as_ref().expect("there");
    assert_eq!(planner.rung, before.rung);
    assert_eq!(planner.steps_seen(), before.steps_seen() + 1);
    assert!(planner.forecaster().history().len() >= restart as usize - 1, "and the history is back");
}

#[test]
fn a_restart_that_is_handed_the_demand_of_the_days_before_changes_no_plan() {
    // Not at the time of a choice, which would be another one after a restart.
    let (restart, end) = (4 * SEASON + 5, 6 * SEASON);
    let mut lived = PlanState::default();
    let mut kept = DemandHistory { first_step: u64::MAX, replicas: Vec::new() };
    for step in 0..restart {
        live(&mut lived, step, step + 1);
        let news = lived.demand_since(if kept.replicas.is_empty() { 0 } else { kept.next_step() });
        kept.first_step = kept.first_step.min(news.first_step);
        kept.replicas.extend(news.replicas);
    }
    assert_eq!(kept.replicas.len() as u64, restart - 1, "all steps that have ended, each once");
    let stored = serde_json::to_string(&lived).expect("a state");
    let resume = |kept: DemandHistory| {
        let mut resumed: PlanState = serde_json::from_str(&stored).expect("its own text");
        resumed.recall(kept);
        live(&mut resumed, restart, end)
    };
    let number = |planned: &Option<Planned>| planned.as_ref().map(|planned| planned.replicas);
    let without = resume(DemandHistory::default());
    let (lived, with) = (live(&mut lived, restart, end), resume(kept));
    let apart = |other: &[Option<Planned>]| lived.iter().zip(other).filter(|(a, b)| number(a) != number(b)).count();
    assert_eq!(apart(&with), 0, "of {} plans differ", lived.len());
    assert!(apart(&without) > lived.len() / 10, "{} differ without: the test shows nothing", apart(&without));
}

#[test]
fn a_past_that_ended_long_ago_or_has_another_rhythm_is_not_taken_up() {
    let mut state = PlanState::default();
    assert!(!state.take_up(rehearsed(0, 10), settings().rhythm), "nothing was decided yet");
    live(&mut state, 4000, 4001);
    assert!(!state.take_up(rehearsed(0, 10), settings().rhythm), "too long ago");
    assert!(!state.take_up(rehearsed(0, 3999), Rhythm::DAY), "another rhythm");
    assert!(!state.take_up(rehearsed(0, 4010), settings().rhythm), "of the future");
    assert!(state.take_up(rehearsed(0, 3999), settings().rhythm));
}

#[test]
fn a_past_of_less_than_is_known_already_changes_nothing() {
    let mut state = PlanState::default();
    live(&mut state, 0, 3 * SEASON);
    assert!(state.take_up(rehearsed(3 * SEASON - 100, 3 * SEASON - 1), settings().rhythm));
    let (_, planner) = state.planner.0.as_ref().expect("there");
    assert!(planner.forecaster().history().len() as u64 >= 3 * SEASON - 1, "the three days are still known");
}

#[test]
fn a_longer_plan_step_or_a_clock_that_was_set_back_begins_anew_and_does_not_freeze_the_plan() {
    let mut state = PlanState::default();
    live(&mut state, 0, SEASON);
    assert!(state.planned.is_some());
    let longer = Settings { rhythm: Rhythm::new(60.0, 1.0 / 80.0, 0.5).expect("valid"), ..settings() };
    let planned = live_on(&longer, arrivals, None, &mut state, SEASON, 3 * SEASON);
    assert_eq!((planned[0], planned[2 * SEASON as usize - 1].is_some()), (None, true));

    let mut state = PlanState::default();
    live(&mut state, 2 * SEASON, 3 * SEASON);
    let before = live(&mut state, 3 * SEASON - 5, 3 * SEASON);
    assert!(before.iter().all(Option::is_some), "a clock that is set right");
    let planned = live(&mut state, SEASON, 2 * SEASON);
    assert_eq!((planned[0], planned[SEASON as usize - 1].is_some()), (None, true));
}

#[test]
fn late_requests_count_only_while_replicas_can_help() {
    let demand = Demand { late_per_second: Some(5.0), service_seconds: Some(2.0), replicas: 4.0, ..Demand::default() };
    let look = Look { observed: Observed { ready: 3, ..Observed::default() }, ..Look::default() };
    let missed = |objective_out_of_reach| {
        missed(&demand, &look, &Capacity { objective_out_of_reach, ..capacity() }, &settings())
    };
    assert!((missed(false) - 4.0).abs() < 1e-9, "ten requests at once, 2.5 a replica");
    assert!((missed(true) - 1.0).abs() < 1e-9, "what exceeds the Ready replicas");
}

/// Nobody comes in the first half of the day.
fn office_hours(step: u64) -> f64 {
    if step % SEASON < SEASON / 2 { 0.0 } else { 10.0 }
}

/// Step of the sixth day at which the model has a replica again for its office hours, and how many it had none in before.
fn woken_for_office_hours(standby: Option<&StandbyTier>) -> (u64, usize) {
    let settings = Settings { min_replicas: 0, ..settings() };
    let mut state = PlanState::default();
    let planned = live_on(&settings, office_hours, standby, &mut state, 0, 6 * SEASON);
    let number = |step: u64| planned[step as usize].as_ref().map(|planned| planned.replicas);
    let day = 5 * SEASON;
    let asleep = (day + 20..day + SEASON / 2).filter(|step| number(*step) == Some(0)).count();
    let woken = (day..day + SEASON).rev().find(|step| number(*step) == Some(0)).map(|step| step + 1 - day);
    (woken.expect("none at night"), asleep)
}

#[test]
fn a_model_that_may_sleep_is_woken_a_start_up_time_before_its_usual_first_request() {
    let (woken, asleep) = woken_for_office_hours(None);
    assert!(woken <= SEASON / 2 - 12, "ordered at {woken}, and a start takes twelve steps");
    assert!(asleep as u64 > SEASON / 4, "without a replica for {asleep} steps");
}

#[test]
fn an_engine_that_sleeps_is_woken_a_wake_before_and_not_a_start() {
    let wake = crate::startup::StartupState::default().quantiles(Some(0.5));
    let tier = StandbyTier { standby: Standby { asleep: 1, most: 1, price: 0.1 }, waking: 0, wake };
    let ((cold, _), (woken, asleep)) = (woken_for_office_hours(None), woken_for_office_hours(Some(&tier)));
    assert!(woken > cold + 5 && woken <= SEASON / 2, "woken at {woken}, a start is ordered at {cold}");
    assert!(asleep as u64 > SEASON / 4, "asleep for {asleep} steps");
}
