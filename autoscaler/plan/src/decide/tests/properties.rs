//! What holds for every fleet.

use proptest::prelude::*;

use super::*;

fn observation() -> impl Strategy<Value = Option<(f64, f64)>> {
    prop_oneof![
        3 => (0_u32..40, 0_u32..40).prop_map(|(running, waiting)| Some((f64::from(running), f64::from(waiting)))),
        1 => Just(None),
    ]
}

/// A fleet: limits, replicas told, engines seen or not, queue of the router or its silence.
pub(super) fn facts() -> impl Strategy<Value = Facts> {
    (
        0_u32..4,
        0_u32..12,
        0_u32..20,
        prop::collection::vec(observation(), 0..10),
        prop::option::of(0_u32..50),
        any::<bool>(),
    )
        .prop_map(|(min, span, replicas, engines, queue, paused)| {
            let engines = engines
                .into_iter()
                .enumerate()
                .map(|(id, load)| {
                    let seen = load.map(|(running, waiting)| Observation::Seen(sample(at(0), running, waiting)));
                    ready(id, seen.unwrap_or_else(absent))
                })
                .collect();
            let router = queue.map_or_else(silent_router, |queue| router(at(0), f64::from(queue), &[]));
            let settings = Settings {
                min_replicas: min,
                max_replicas: min.max(1) + span,
                stabilization_seconds: 4.0,
                paused,
                ..settings()
            };
            Facts { settings, replicas, engines, router, standby: None }
        })
}

proptest! {
    #[test]
    fn replicas_stay_within_the_limits_unless_paused(facts in prop::collection::vec(facts(), 1..8)) {
        let mut state = State::default();
        for (step, facts) in facts.iter().enumerate() {
            let decision = decide(facts, &mut state, at(step as i64 * 2000));
            if facts.settings.paused {
                prop_assert_eq!(decision.replicas, facts.replicas);
            } else {
                prop_assert!((facts.settings.min_replicas..=facts.settings.max_replicas).contains(&decision.replicas));
            }
            prop_assert!(!decision.because.is_empty());
        }
    }

    #[test]
    fn nothing_is_drained_while_an_engine_or_a_router_is_silent(facts in prop::collection::vec(facts(), 1..8)) {
        let mut state = State::default();
        for (step, facts) in facts.iter().enumerate() {
            let decision = decide(facts, &mut state, at(step as i64 * 2000));
            let held = facts.replicas.clamp(facts.settings.min_replicas, facts.settings.max_replicas);
            if !decision.has_complete_metrics() && !facts.settings.paused {
                prop_assert!(decision.replicas >= held, "{} < {}: {:?}", decision.replicas, held, decision.because);
            }
        }
    }

    #[test]
    fn more_load_never_asks_for_less(facts in facts(), engine in 0_usize..10, more in 1_u32..50) {
        let mut busier = facts.clone();
        match busier.engines.get_mut(engine).map(|engine| &mut engine.observation) {
            Some(Observation::Seen(sample)) => sample.waiting = sample.waiting.map(|waiting| waiting + f64::from(more)),
            _ => return Ok(()),
        }
        let less = decide(&facts, &mut State::default(), at(0));
        let greater = decide(&busier, &mut State::default(), at(0));
        prop_assert!(greater.wanted >= less.wanted);
        prop_assert!(greater.replicas >= less.replicas || facts.settings.paused);
    }

    #[test]
    fn the_order_of_engines_does_not_matter(facts in facts()) {
        let mut turned = facts.clone();
        turned.engines.reverse();
        let (one, other) = (decide(&facts, &mut State::default(), at(0)), decide(&turned, &mut State::default(), at(0)));
        prop_assert_eq!((one.replicas, one.wanted), (other.replicas, other.wanted));
    }

    #[test]
    fn a_restart_changes_no_decision(facts in prop::collection::vec(facts(), 2..8), cut in 1_usize..7) {
        let mut state = State::default();
        let mut restarted = State::default();
        for (step, facts) in facts.iter().enumerate() {
            if step == cut {
                restarted = State::from_json(&restarted.to_json()).expect("its own text");
            }
            let now = at(step as i64 * 2000);
            let (one, other) = (decide(facts, &mut state, now), decide(facts, &mut restarted, now));
            prop_assert_eq!(one.replicas, other.replicas);
        }
    }
}
