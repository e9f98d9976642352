use std::num::NonZeroU32;

use jiff::Timestamp;

use super::*;
use crate::decide::decide;
use crate::facts::{
    EngineFacts, EngineSample, Milestones, Objective, Observation, Phase, Queue, RouterFacts, Settings,
};
use crate::pool::PoolTerms;
use crate::rate::RateLimits;
use crate::state::State;
use crate::{Rhythm, reasons};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

/// Two engines of a target of two, each with `running` requests.
fn facts(running: f64) -> Facts {
    let settings = Settings {
        min_replicas: 1,
        max_replicas: 12,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 60.0,
        rate_limits: RateLimits::default(),
        startup_seconds: Some(30.0),
        control_period_seconds: 2.0,
        capacity_prior: 8.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::DAY,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    };
    let engine = |id: usize| EngineFacts {
        id: format!("ns/engine-{id}"),
        phase: Phase::Ready { created: at(-600), since: at(-500) },
        milestones: Milestones::default(),
        observation: Observation::Seen(EngineSample {
            has_vllm_metrics: true,
            running: Some(running),
            waiting: Some(0.0),
            ..EngineSample::without_vllm_metrics(at(0))
        }),
    };
    Facts {
        settings,
        replicas: 2,
        engines: vec![engine(0), engine(1)],
        router: RouterFacts::NotConfigured,
        standby: None,
    }
}

/// What is found in a decision on `facts` once `change` was done to it.
fn found(facts: &Facts, change: impl FnOnce(&mut Decision)) -> Option<Contradiction> {
    let mut decision = decide(facts, &mut State::default(), at(0));
    assert_eq!(check_decision(facts, &decision), Ok(()));
    change(&mut decision);
    check_decision(facts, &decision).err()
}

#[test]
fn what_contradicts_itself_is_named() {
    let facts = facts(4.0);
    let paused = Facts { settings: Settings { paused: true, ..facts.settings.clone() }, ..facts.clone() };
    assert_eq!(
        found(&facts, |decision| decision.replicas = 13),
        Some(Contradiction::AboveMax { replicas: 13, max_replicas: 12 })
    );
    assert_eq!(
        found(&facts, |decision| decision.replicas = 0),
        Some(Contradiction::BelowMin { replicas: 0, min_replicas: 1 })
    );
    assert_eq!(
        found(&paused, |decision| decision.replicas = 3),
        Some(Contradiction::MovesWhilePaused { from: 2, to: 3 })
    );
    let silent = |decision: &mut Decision| {
        decision.observed.unobserved = 1;
        decision.replicas = 1;
    };
    assert_eq!(found(&facts, silent), Some(Contradiction::DrainsOnSilence { from: 2, to: 1 }));
    assert_eq!(found(&facts, |decision| decision.because.clear()), Some(Contradiction::NoReason));
    let negative = found(&facts, |decision| decision.demand.waiting = -1.0).expect("refused").to_string();
    assert_eq!(negative, "the number of requests that wait is -1");
    let endless = found(&facts, |decision| decision.capacity.requests = f64::INFINITY).expect("refused").to_string();
    assert_eq!(endless, "the capacity of a replica is inf");
}

#[test]
fn a_number_that_is_none_moves_nothing_and_says_so() {
    let mut broken = facts(4.0);
    broken.replicas = 5;
    let Observation::Seen(sample) = &mut broken.engines[0].observation else { panic!("seen") };
    sample.running = Some(f64::NAN);
    let decision = decide(&broken, &mut State::default(), at(0));
    assert_eq!((decision.replicas, decision.because[0].reason), (5, reasons::PLAN_REFUSED));
    assert!(decision.because[0].message.contains("5 replicas stay"), "{:?}", decision.because);
}

#[test]
fn a_division_that_contradicts_itself_is_named() {
    let claim = |name: &str, present, wanted, keeps| Claim {
        name: name.to_owned(),
        terms: PoolTerms { gpus_per_replica: NonZeroU32::MIN.saturating_add(1), priority: 0 },
        min_replicas: 0,
        wanted,
        present,
        ending: 0,
        takes_back: false,
        keeps,
        uses: Vec::new(),
    };
    let grant = |granted, replicas| Grant { granted, replicas, because: Vec::new() };
    let found =
        |claims: &[Claim], grants: &[Grant]| check_division(8, claims, grants).map_err(|error| error.to_string());
    let (one, kept) = (claim("a", 2, 4, false), claim("b", 1, 1, true));
    assert_eq!(found(&[one.clone(), kept.clone()], &[grant(3, 3), grant(1, 1)]), Ok(()));
    for (claims, grants, expected) in [
        ([one.clone(), kept.clone()], [grant(4, 3), grant(1, 1)], "10 GPUs would be needed of 8"),
        ([one.clone(), kept.clone()], [grant(5, 3), grant(1, 1)], "a wants 4 replicas, is granted 5 and ordered 3"),
        ([one.clone(), kept.clone()], [grant(2, 3), grant(1, 1)], "a wants 4 replicas, is granted 2 and ordered 3"),
        (
            [one.clone(), kept.clone()],
            [grant(3, 3), grant(1, 0)],
            "b would lose replicas that must stay: 1 would become 0",
        ),
        ([one.clone(), one.clone()], [grant(1, 1), grant(1, 1)], "a has two claims on one pool"),
        // Two GPUs are free, and two replicas of two GPUs are ordered.
        (
            [claim("a", 2, 4, false), claim("b", 1, 0, false)],
            [grant(4, 4), grant(0, 0)],
            "10 GPUs would be needed of 8",
        ),
    ] {
        assert_eq!(found(&claims, &grants), Err(expected.to_owned()));
    }
}
