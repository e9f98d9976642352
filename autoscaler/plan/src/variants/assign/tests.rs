use proptest::prelude::*;

use super::*;
use crate::decide::decide;
use crate::decide::tests::settings;
use crate::facts::{EngineFacts, EngineSample, Milestones, Observation, Phase, Settings};
use crate::state::State;

/// A variant of eight requests a replica: what it has, what runs on each, and what was decided.
struct Stage {
    price: f64,
    facts: Facts,
    decision: Decision,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn stage(price: f64, max_replicas: u32, ready: u32, starting: u32, running: f64) -> Stage {
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
    let replicas = ready + starting;
    let settings = Settings { min_replicas: 0, max_replicas, stabilization_seconds: 2.0, ..settings() };
    let engines = (0..replicas).map(engine).collect();
    // A router that holds requests, so that a variant may be at zero.
    let facts = Facts { settings, replicas, engines, router: RouterFacts::Replicas(Vec::new()), standby: None };
    let mut state = State::default();
    decide(&facts, &mut state, at(0));
    // Past the window of the first: what it has counts as wanted then.
    let decision = decide(&facts, &mut state, at(10));
    Stage { price, facts, decision }
}

fn granted(stages: &[Stage]) -> Vec<Grant> {
    let part =
        |(stage, name): (&'_ Stage, &'static str)| (name, stage.price, stage.facts.clone(), stage.decision.clone());
    let owned: Vec<_> = stages.iter().zip(["a", "b", "c"]).map(part).collect();
    let parts: Vec<Part<'_>> = owned
        .iter()
        .map(|(name, price, facts, decision)| Part { name, price: *price, is_fixed: false, facts, decision })
        .collect();
    assign(&parts, true, at(10))
}

fn replicas(stages: &[Stage]) -> Vec<u32> {
    granted(stages).iter().map(|grant| grant.replicas).collect()
}

#[test]
fn the_dearer_variant_serves_until_the_cheaper_one_that_takes_its_place_is_ready() {
    // The dear one has all the load; the cheap one is ordered, starts, is Ready.
    let before = [stage(1.0, 9, 0, 0, 0.0), stage(3.0, 9, 2, 0, 8.0)];
    assert_eq!(replicas(&before), [2, 2]);
    let grants = granted(&before);
    assert_eq!(grants[0].because[0].reason, reasons::LEAST_PRICE);
    assert_eq!(
        grants[0].because[0].message,
        "0 replicas would carry its share; what all variants have to carry costs least as 2 of a, 0 of b"
    );
    assert_eq!(grants[1].because[0].reason, reasons::SERVES_UNTIL_OTHERS);
    assert_eq!(replicas(&[stage(1.0, 9, 0, 2, 0.0), stage(3.0, 9, 2, 0, 8.0)]), [2, 2]);
    // Ready, and nothing is known of what they carry: nobody goes yet.
    let mut ready = [stage(1.0, 9, 2, 0, 0.0), stage(3.0, 9, 2, 0, 8.0)];
    assert_eq!(replicas(&ready), [2, 2]);
    ready[0].decision.capacity.confidence = 0.5;
    assert_eq!(replicas(&ready), [2, 0]);
    assert_eq!(replicas(&[stage(1.0, 9, 2, 0, 8.0), stage(3.0, 9, 0, 0, 0.0)]), [2, 0]);
}

#[test]
fn what_the_cheap_variant_has_no_replicas_for_goes_to_the_next() {
    let full = [stage(1.0, 2, 2, 0, 20.0), stage(3.0, 9, 0, 0, 0.0)];
    assert_eq!(replicas(&full), [2, 3]);
}

#[test]
fn what_a_decision_keeps_for_a_while_stays_and_is_no_reason_to_order_more() {
    let mut dip = [stage(1.0, 9, 2, 0, 8.0), stage(3.0, 9, 2, 0, 0.0)];
    assert_eq!(replicas(&dip), [2, 0]);
    dip[1].decision.replicas = 1;
    assert_eq!(replicas(&dip), [2, 1]);
}

#[test]
fn nothing_moves_while_one_of_them_cannot_be_seen() {
    let mut unseen = [stage(1.0, 9, 0, 0, 0.0), stage(3.0, 9, 2, 0, 8.0)];
    unseen[1].decision.observed.unobserved = 1;
    assert_eq!(replicas(&unseen), [0, 2]);
    assert!(granted(&unseen).iter().all(|grant| grant.because.is_empty()));
}

#[test]
fn a_schedule_holds_for_each_variant() {
    let mut stages = [stage(1.0, 9, 2, 0, 8.0), stage(3.0, 9, 2, 0, 0.0)];
    let floor = crate::ScheduledFloor { from: at(0), until: at(3600), min_replicas: 3 };
    stages[1].facts.settings.floors = vec![floor];
    // The dear ones have shown nothing yet, so the cheap ones serve on.
    assert_eq!(replicas(&stages), [2, 3]);
    stages[1].decision.capacity.confidence = 0.5;
    assert_eq!(replicas(&stages), [0, 3]);
}

#[test]
fn nothing_is_given_up_while_one_of_them_is_not_known() {
    let stages = [stage(1.0, 9, 2, 0, 8.0), stage(3.0, 9, 4, 0, 0.0)];
    let parts: Vec<Part<'_>> = stages
        .iter()
        .map(|Stage { price, facts, decision }| Part { name: "a", price: *price, is_fixed: false, facts, decision })
        .collect();
    let of = |are_all| assign(&parts, are_all, at(10)).iter().map(|grant| grant.replicas).collect::<Vec<_>>();
    assert_eq!((of(true), of(false)), (vec![2, 0], vec![2, 4]));
}

#[test]
fn starts_that_do_not_come_are_not_counted_on() {
    // Cheap ones were ordered a day ago and are not there; the order stands, and the dear ones carry.
    let mut stages = [stage(1.0, 9, 0, 4, 0.0), stage(3.0, 9, 2, 0, 16.0)];
    let credit = stages[0].decision.credit.as_mut().expect("four start");
    credit.first_ready_seconds = 0.0;
    assert_eq!(replicas(&stages), [4, 4]);
}

#[test]
fn a_variant_that_is_paused_keeps_its_replicas_and_counts() {
    let mut paused = [stage(1.0, 9, 1, 0, 8.0), stage(3.0, 9, 1, 0, 8.0)];
    paused[1].facts.settings.paused = true;
    assert_eq!(replicas(&paused), [1, 1]);
}

#[test]
fn a_model_on_one_variant_is_left_alone() {
    assert_eq!(replicas(&[stage(1.0, 9, 2, 0, 4.0)]), [1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_of_them_carry_what_they_would_have_and_none_leaves_its_bounds(
        fleets in prop::collection::vec((1_u32..6, 2_u32..9, 0_u32..4, 0_u32..3, 0.0_f64..12.0), 2..4),
    ) {
        let stages: Vec<Stage> = fleets
            .iter()
            .map(|(price, max, ready, starting, running)| stage(f64::from(*price), *max, *ready, *starting, *running))
            .map(|mut stage| {
                stage.decision.capacity.confidence = 0.5;
                stage
            })
            .collect();
        let grants = granted(&stages);
        let carried = |count: &dyn Fn(&Stage, &Grant) -> u32| -> f64 {
            stages.iter().zip(&grants).map(|(s, g)| f64::from(count(s, g)) * s.decision.capacity.requests).sum()
        };
        let load: f64 = stages
            .iter()
            .map(|s| s.decision.demand.floor_replicas.max(s.decision.demand.replicas) * s.decision.capacity.requests)
            .sum();
        let most = carried(&|stage, _| stage.facts.settings.max_replicas);
        prop_assert!(carried(&|_, grant| grant.granted) + 1e-6 >= load.min(most));
        // What is Ready and needed is not let go before others are Ready.
        let serving = carried(&|stage, grant| grant.replicas.min(stage.decision.observed.ready));
        let ready = carried(&|stage, _| stage.decision.observed.ready.min(stage.facts.settings.max_replicas));
        prop_assert!(serving + 1e-6 >= load.min(ready), "{serving} serve {load}, {ready} are Ready");
        for (stage, grant) in stages.iter().zip(&grants) {
            prop_assert!(grant.granted <= grant.replicas && grant.replicas <= stage.facts.settings.max_replicas);
        }
    }
}
