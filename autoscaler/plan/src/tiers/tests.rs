use proptest::prelude::*;

use super::*;
use crate::decide::decide;
use crate::decide::tests::settings;
use crate::facts::{EngineFacts, EngineSample, Milestones, Observation, Phase, RouterFacts, Settings};
use crate::state::State;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

/// A tier of eight requests a replica: what was decided with what it has and what runs on each Ready engine.
#[derive(Debug, Clone)]
struct Stage {
    tier: Tier,
    is_fixed: bool,
    granted: Option<u32>,
    facts: Facts,
    decision: Decision,
}

fn stage(tier: Tier, max_replicas: u32, ready: u32, starting: u32, running: f64) -> Stage {
    let engine = |id: u32| {
        let is_ready = id < ready;
        let phase = if is_ready {
            Phase::Ready { created: at(-600), since: at(-500) }
        } else {
            Phase::Starting { since: at(-5) }
        };
        let sample = EngineSample {
            has_vllm_metrics: true,
            running: Some(running),
            waiting: Some(0.0),
            ..EngineSample::without_vllm_metrics(at(0))
        };
        let observation =
            if is_ready { Observation::Seen(sample) } else { Observation::Absent { reason: "starts".to_owned() } };
        EngineFacts { id: format!("ns/{id}"), phase, milestones: Milestones::default(), observation }
    };
    let settings =
        Settings { min_replicas: 0, max_replicas, stabilization_seconds: 2.0, tier: Some(tier), ..settings() };
    let replicas = ready + starting;
    let engines = (0..replicas).map(engine).collect();
    // A router that holds requests, so that a tier may be at zero.
    let facts = Facts { settings, replicas, engines, router: RouterFacts::Replicas(Vec::new()), standby: None };
    let mut state = State::default();
    decide(&facts, &mut state, at(0));
    // Past the window of the first: what it has counts as wanted then.
    let decision = decide(&facts, &mut state, at(10));
    Stage { tier, is_fixed: false, granted: None, facts, decision }
}

/// A tier that foresees more than reaches it now.
fn foreseeing(replicas: u32, mut stage: Stage) -> Stage {
    stage.decision.wanted = replicas;
    stage.decision.replicas = replicas.min(stage.facts.settings.max_replicas);
    stage
}

fn part(stage: &Stage) -> TierPart<'_> {
    let Stage { tier, is_fixed, granted, facts, decision } = stage;
    let name = match tier {
        Tier::Prefill => "chat-prefill",
        Tier::Decode => "chat-decode",
    };
    TierPart { name, tier: *tier, is_fixed: *is_fixed, granted: *granted, facts, decision }
}

fn grants(prefill: &Stage, decode: &Stage) -> [Grant; 2] {
    couple(&[part(prefill), part(decode)], at(10))
}

fn replicas(prefill: &Stage, decode: &Stage) -> (u32, u32) {
    let [prefill, decode] = grants(prefill, decode);
    (prefill.replicas, decode.replicas)
}

#[test]
fn with_room_for_both_each_gets_what_it_decided_in_the_same_round_and_no_reason() {
    let prefill = foreseeing(4, stage(Tier::Prefill, 9, 1, 0, 1.0));
    let decode = foreseeing(6, stage(Tier::Decode, 9, 1, 0, 1.0));
    assert_eq!(replicas(&prefill, &decode), (4, 6));
    assert!(grants(&prefill, &decode).iter().all(|grant| grant.because.is_empty()));
}

#[test]
fn decode_orders_no_more_than_prefill_lets_through() {
    let prefill = foreseeing(4, stage(Tier::Prefill, 2, 1, 0, 1.0));
    let decode = foreseeing(6, stage(Tier::Decode, 9, 1, 0, 1.0));
    assert_eq!(replicas(&prefill, &decode), (2, 3));
    let [_, grant] = grants(&prefill, &decode);
    assert_eq!((grant.because[0].reason, grant.because[0].value), (reasons::LIMITED_BY_TIER, 6.0));
    assert_eq!(
        grant.because[0].message,
        "6 replicas are wanted; its Prefill tier, chat-prefill, can have 2 of the 4 that it wants, and 3 keep up with that"
    );
}

#[test]
fn prefill_orders_no_more_than_decode_can_go_on_with() {
    let prefill = foreseeing(4, stage(Tier::Prefill, 9, 1, 0, 1.0));
    let decode = foreseeing(6, stage(Tier::Decode, 3, 1, 0, 1.0));
    assert_eq!(replicas(&prefill, &decode), (2, 3));
}

#[test]
fn a_pool_or_starts_that_do_not_come_limit_as_a_maximum_does() {
    let decode = foreseeing(6, stage(Tier::Decode, 9, 1, 0, 1.0));
    let mut pooled = foreseeing(4, stage(Tier::Prefill, 9, 1, 0, 1.0));
    pooled.granted = Some(2);
    assert_eq!(replicas(&pooled, &decode), (4, 3));
    // Four were ordered, one is Ready, and the others are overdue.
    let mut stuck = foreseeing(4, stage(Tier::Prefill, 9, 1, 3, 1.0));
    assert_eq!(replicas(&stuck, &decode), (4, 6));
    stuck.decision.credit.as_mut().expect("three start").first_ready_seconds = 0.0;
    assert_eq!(replicas(&stuck, &decode), (4, 2));
}

#[test]
fn what_is_there_and_what_comes_through_now_is_not_cut() {
    let prefill = foreseeing(4, stage(Tier::Prefill, 1, 1, 0, 1.0));
    // A quarter of six would be two; five are there.
    assert_eq!(replicas(&prefill, &foreseeing(6, stage(Tier::Decode, 9, 5, 0, 1.0))), (1, 5));
    // 27 requests that came through prefill are in service on one engine of eight: they need four.
    assert_eq!(replicas(&prefill, &foreseeing(6, stage(Tier::Decode, 9, 1, 0, 27.0))), (1, 4));
}

#[test]
fn minimum_and_schedule_of_a_tier_hold_whatever_the_other_has() {
    let prefill = foreseeing(8, stage(Tier::Prefill, 1, 1, 0, 1.0));
    let mut decode = foreseeing(8, stage(Tier::Decode, 9, 1, 0, 1.0));
    assert_eq!(replicas(&prefill, &decode), (1, 1));
    decode.facts.settings.min_replicas = 3;
    assert_eq!(replicas(&prefill, &decode), (1, 3));
    let floor = crate::ScheduledFloor { from: at(0), until: at(3600), min_replicas: 5 };
    decode.facts.settings.floors = vec![floor];
    assert_eq!(replicas(&prefill, &decode), (1, 5));
}

#[test]
fn one_that_wakes_wakes_both_and_both_sleep_or_neither() {
    let asleep = |tier| stage(tier, 9, 0, 0, 0.0);
    assert_eq!(replicas(&asleep(Tier::Prefill), &asleep(Tier::Decode)), (0, 0));
    let woken = foreseeing(1, asleep(Tier::Decode));
    assert_eq!(replicas(&asleep(Tier::Prefill), &woken), (1, 1));
    let [prefill, _] = grants(&asleep(Tier::Prefill), &woken);
    assert_eq!(prefill.because[0].reason, reasons::AWAKE_WITH_TIER);
    // Decode still ends what it has: prefill stays until both go.
    let idle = foreseeing(0, stage(Tier::Prefill, 9, 1, 0, 0.0));
    assert_eq!(replicas(&idle, &stage(Tier::Decode, 9, 1, 0, 1.0)), (1, 1));
    assert_eq!(replicas(&idle, &foreseeing(0, stage(Tier::Decode, 9, 1, 0, 0.0))), (0, 0));
    // A pool that has nothing for one of them wakes neither.
    let mut refused = foreseeing(1, asleep(Tier::Decode));
    refused.granted = Some(0);
    assert_eq!(replicas(&foreseeing(1, asleep(Tier::Prefill)), &refused).0, 0);
}

#[test]
fn a_tier_that_is_paused_or_not_ours_keeps_its_replicas_and_limits_the_other() {
    let decode = foreseeing(6, stage(Tier::Decode, 9, 1, 0, 1.0));
    let mut prefill = foreseeing(4, stage(Tier::Prefill, 9, 2, 0, 1.0));
    prefill.facts.settings.paused = true;
    assert_eq!(replicas(&prefill, &decode).1, 3);
    prefill.facts.settings.paused = false;
    prefill.is_fixed = true;
    assert_eq!(replicas(&prefill, &decode).1, 3);
    let mut paused = foreseeing(0, stage(Tier::Decode, 9, 0, 0, 0.0));
    paused.facts.settings.paused = true;
    assert_eq!(replicas(&foreseeing(4, stage(Tier::Prefill, 9, 1, 0, 1.0)), &paused).1, 0);
}

#[test]
fn a_tier_that_cannot_be_seen_whole_limits_nobody() {
    let mut prefill = foreseeing(4, stage(Tier::Prefill, 2, 2, 0, 1.0));
    prefill.decision.observed.unobserved = 1;
    assert_eq!(replicas(&prefill, &foreseeing(6, stage(Tier::Decode, 9, 1, 0, 1.0))), (2, 6));
}

#[test]
fn a_tier_alone_says_so_and_does_not_sleep_while_the_other_may_serve() {
    let idle = foreseeing(0, stage(Tier::Prefill, 9, 1, 0, 0.0));
    let (grant, note) = alone(&part(&idle), None);
    assert_eq!((grant.replicas, note.reason), (0, reasons::TIER_ALONE));
    assert_eq!(note.message, "no EngineAutoscaler is the Decode tier of this servedModelName: it is decided on alone");
    let (grant, note) = alone(&part(&idle), Some("chat-decode"));
    assert_eq!((grant.replicas, grant.because[0].reason), (1, reasons::AWAKE_WITH_TIER));
    assert!(note.message.starts_with("its Decode tier, chat-decode, cannot be decided on now"), "{}", note.message);
}

fn any_stage(tier: Tier) -> impl Strategy<Value = Stage> {
    let fleet = (1_u32..9, 0_u32..4, 0_u32..4, 0.0_f64..20.0);
    let rest = (0_u32..12, prop::option::of(0_u32..9), prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0_u32..4);
    (fleet, rest).prop_map(move |((max, ready, starting, running), (wanted, granted, is_fixed, paused, min))| {
        let mut stage = foreseeing(wanted, stage(tier, max, ready, starting, running));
        let settings = &mut stage.facts.settings;
        (settings.paused, settings.min_replicas) = (paused, min.min(max));
        stage.decision.replicas =
            if paused { stage.facts.replicas } else { stage.decision.replicas.max(settings.min_replicas) };
        Stage { granted, is_fixed, ..stage }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_taken_and_nothing_exceeds_what_was_decided_but_a_first_replica(
        prefill in any_stage(Tier::Prefill), decode in any_stage(Tier::Decode),
    ) {
        for (stage, grant) in [&prefill, &decode].into_iter().zip(grants(&prefill, &decode)) {
            let (settings, decided) = (&stage.facts.settings, stage.decision.replicas);
            prop_assert!(grant.replicas <= decided.max(1));
            prop_assert!(grant.replicas >= decided.min(stage.facts.replicas));
            prop_assert!(grant.replicas >= decided.min(settings.min_replicas));
            prop_assert_eq!(grant.because.is_empty(), grant.replicas == decided);
            if stage.is_fixed || settings.paused {
                prop_assert_eq!(grant.replicas, decided);
            }
        }
    }

    #[test]
    fn no_tier_is_at_zero_while_the_other_can_serve(
        prefill in any_stage(Tier::Prefill), decode in any_stage(Tier::Decode),
    ) {
        let stages = [&prefill, &decode];
        let grants = grants(&prefill, &decode);
        if stages.iter().all(|stage| !stage.is_fixed && !stage.facts.settings.paused && stage.granted.is_none()) {
            prop_assert_eq!(grants[0].replicas == 0, grants[1].replicas == 0);
        }
    }

    #[test]
    fn the_order_of_the_tiers_does_not_matter(
        prefill in any_stage(Tier::Prefill), decode in any_stage(Tier::Decode),
    ) {
        let [one, other] = couple(&[part(&decode), part(&prefill)], at(10));
        prop_assert_eq!(grants(&prefill, &decode), [other, one]);
    }

    #[test]
    fn what_is_coupled_and_granted_stays_as_it_is(
        prefill in any_stage(Tier::Prefill), decode in any_stage(Tier::Decode),
    ) {
        let mut stages = [prefill, decode];
        let coupled = grants(&stages[0], &stages[1]);
        for (stage, grant) in stages.iter_mut().zip(coupled) {
            let is_ours = !stage.is_fixed && !stage.facts.settings.paused;
            stage.decision.replicas = grant.replicas.min(stage.granted.filter(|_| is_ours).unwrap_or(u32::MAX));
        }
        let once: Vec<u32> = stages.iter().map(|stage| stage.decision.replicas).collect();
        prop_assume!(!once.contains(&0));
        prop_assert_eq!(grants(&stages[0], &stages[1]).map(|grant| grant.replicas).to_vec(), once);
    }

    #[test]
    fn a_tier_that_can_have_more_never_lets_the_other_have_less(
        prefill in any_stage(Tier::Prefill), decode in any_stage(Tier::Decode), more in 0_u32..5,
    ) {
        prop_assume!(!prefill.is_fixed && !prefill.facts.settings.paused);
        let mut larger = prefill.clone();
        larger.facts.settings.max_replicas += more;
        larger.decision.replicas = larger.decision.wanted.min(larger.facts.settings.max_replicas).max(prefill.decision.replicas);
        larger.granted = larger.granted.map(|granted| granted + more);
        prop_assert!(replicas(&larger, &decode).1 >= replicas(&prefill, &decode).1);
    }
}
