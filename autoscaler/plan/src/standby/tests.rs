use jiff::Timestamp;

use super::*;
use crate::decide::tests::settings;
use crate::facts::{EngineFacts, EngineSample, Milestones, Observation, RouterFacts, Settings};
use crate::{Decision, State, decide};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn standby(asleep: u32) -> Option<Standby> {
    Some(Standby { asleep, most: 2, price: 0.1 })
}

fn engine(id: &str, phase: Phase, woken: Option<i64>) -> EngineFacts {
    EngineFacts {
        id: id.to_owned(),
        phase,
        milestones: Milestones { woken: woken.map(at), ..Milestones::default() },
        observation: Observation::Absent { reason: "not asked yet".to_owned() },
    }
}

/// One Ready engine that runs so many requests, and others.
fn facts(now: Timestamp, running: f64, others: Vec<EngineFacts>) -> Facts {
    let sample =
        EngineSample { has_vllm_metrics: true, running: Some(running), ..EngineSample::without_vllm_metrics(now) };
    let phase = Phase::Ready { created: at(-600), since: at(-500) };
    let first = EngineFacts { observation: Observation::Seen(sample), ..engine("a", phase, None) };
    let settings = Settings { startup_seconds: None, ..settings() };
    let engines: Vec<EngineFacts> = std::iter::once(first).chain(others).collect();
    Facts { settings, replicas: engines.len() as u32, engines, router: RouterFacts::NotConfigured, standby: None }
}

fn decide_with(facts: &Facts, standby: Option<Standby>, state: &mut State, now: Timestamp) -> Decision {
    decide(&Facts { standby, ..facts.clone() }, state, now)
}

fn tier(decision: &Decision) -> StandbyTier {
    decision.standby.expect("a tier")
}

#[test]
fn a_wake_is_learned_apart_from_starts_and_answers_its_order() {
    let mut state = State::default();
    let fresh = decide_with(&facts(at(0), 4.0, Vec::new()), standby(1), &mut state, at(0));
    assert_eq!((tier(&fresh).wake.p95_seconds, tier(&fresh).wake.samples), (crate::WAKE_PRIOR_SECONDS, 0));
    let starts = fresh.startup;
    // Ordered at 10, woken at once, Ready at 12.
    let waking = engine("b", Phase::Starting { since: at(10) }, Some(10));
    let decision = decide_with(&facts(at(10), 4.0, vec![waking]), standby(0), &mut state, at(10));
    assert_eq!(tier(&decision).waking, 1);
    let credit = decision.credit.expect("one is on its way");
    assert!(credit.last_ready_seconds <= crate::WAKE_PRIOR_SECONDS, "{credit:?}");
    let woken = engine("b", Phase::Ready { created: at(10), since: at(12) }, Some(10));
    let mut decision = decision;
    for second in [12, 900] {
        let now = at(second);
        decision = decide_with(&facts(now, 4.0, vec![woken.clone()]), standby(0), &mut state, now);
    }
    let wake = tier(&decision).wake;
    assert_eq!((wake.samples, wake.failures), (1, 0));
    assert!((wake.p50_seconds - 2.0).abs() < 1e-9, "{wake:?}");
    assert_eq!((decision.startup.p95_seconds, decision.startup.stock_outs), (starts.p95_seconds, 0));
}

#[test]
fn a_wake_that_fails_is_counted_and_teaches_no_start_up_time() {
    let mut state = State::default();
    let waking = engine("b", Phase::Starting { since: at(0) }, Some(0));
    decide_with(&facts(at(0), 4.0, vec![waking]), standby(0), &mut state, at(0));
    // It was killed and starts anew, not woken.
    let started = engine("b", Phase::Starting { since: at(5) }, None);
    let decision = decide_with(&facts(at(5), 4.0, vec![started]), standby(0), &mut state, at(5));
    assert_eq!((tier(&decision).wake.failures, tier(&decision).wake.samples), (1, 0));
}

#[test]
fn what_sleeps_is_a_reason_and_without_a_standby_nothing_is_said_of_it() {
    let facts = facts(at(0), 4.0, Vec::new());
    let with = decide_with(&facts, standby(2), &mut State::default(), at(0));
    let reason = with.because.iter().find(|reason| reason.reason == reasons::STANDBY).expect("told");
    let message = "2 engines are asleep: the next ones are woken, 95 % of wakes take 5.0 s and starts 167.7 s";
    assert_eq!(reason.message, message);
    let mut state = State::default();
    let without = decide(&facts, &mut state, at(0));
    let text = serde_json::to_string(&without).expect("a decision");
    assert!(!text.contains("standby") && !text.contains("Standby"), "{text}");
    assert!(!state.to_json().contains("wakes"), "a state without wakes is written as ever");
}

#[test]
fn the_floor_answers_a_burst_sooner_where_an_engine_sleeps() {
    // 24 requests at once where 8 are carried, after a quiet minute: averaged over what the next replica takes to serve.
    let wanted_after = |standby: Option<Standby>, seconds: i64| {
        let mut state = State::default();
        let mut wanted = 0;
        for second in (0..=60 + seconds).step_by(2) {
            let running = if second < 60 { 2.0 } else { 24.0 };
            let now = at(second);
            wanted = decide_with(&facts(now, running, Vec::new()), standby, &mut state, now).wanted;
        }
        wanted
    };
    assert_eq!((wanted_after(None, 2), wanted_after(standby(2), 2)), (1, 3));
    assert_eq!((wanted_after(None, 60), wanted_after(standby(2), 60)), (3, 3));
}

#[test]
fn what_sleeps_is_paid_for_at_its_price() {
    let billed = |asleep: u32| {
        let mut state = State::default();
        let mut score = None;
        for look in 0..60 {
            let now = at(10 * look);
            let mut facts = facts(now, 2.0, Vec::new());
            (facts.settings.startup_seconds, facts.settings.control_period_seconds) = (Some(20.0), 10.0);
            score = decide_with(&facts, standby(asleep), &mut state, now).score;
        }
        let score = score.expect("scored");
        score.billed_replica_seconds / score.seconds
    };
    assert!((billed(0) - 1.0).abs() < 1e-6, "{}", billed(0));
    assert!((billed(2) - 1.2).abs() < 1e-6, "{}", billed(2));
}
