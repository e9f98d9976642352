//! How fast replicas are ordered and released.

use std::num::NonZeroU32;

use super::*;
use crate::schedule::ScheduledFloor;

fn limits(up: u32, down: u32) -> RateLimits {
    RateLimits { up_per_minute: NonZeroU32::new(up), down_per_minute: NonZeroU32::new(down) }
}

/// One engine that queues for some twelve.
fn flooded(now: Timestamp, replicas: u32) -> Facts {
    Facts { replicas, ..fleet(now, &[(8.0, 80.0)]) }
}

fn idle(now: Timestamp, replicas: u32) -> Facts {
    fleet(now, &vec![(0.0, 0.0); replicas as usize])
}

/// Does what is decided every control period; each change as the second and the replicas, and the last decision.
fn carry_out(
    facts: impl Fn(Timestamp, u32) -> Facts,
    rate_limits: RateLimits,
    state: &mut State,
    mut replicas: u32,
    seconds: std::ops::Range<i64>,
) -> (Vec<(i64, u32)>, Decision) {
    let (mut changes, mut last) = (Vec::new(), None);
    for second in seconds.step_by(2) {
        let mut facts = facts(at(second * 1000), replicas);
        facts.settings.rate_limits = rate_limits;
        let decision = decide(&facts, state, at(second * 1000));
        if decision.replicas != replicas {
            changes.push((second, decision.replicas));
        }
        replicas = decision.replicas;
        last = Some(decision);
    }
    (changes, last.expect("at least one step"))
}

#[test]
fn no_more_is_ordered_in_a_minute_than_allowed_and_the_reason_says_what_was_wanted() {
    let mut state = State::default();
    let (changes, last) = carry_out(flooded, limits(3, 0), &mut state, 1, 0..130);
    assert_eq!(changes, [(0, 4), (60, 7), (120, 10)]);
    let reason = &last.because[0];
    assert_eq!((reason.reason, reason.value), (reasons::LIMITED_BY_SCALE_UP_RATE, 11.0));
    let expected = "11 replicas are wanted, scaleUp.maxReplicasPerMinute is 3, and 3 were ordered in the last 60 s";
    assert_eq!(reason.message, expected);
    assert!(last.is_limited());
}

#[test]
fn no_more_is_released_in_a_minute_than_allowed_once_the_window_has_passed() {
    let mut state = State::default();
    let (changes, last) = carry_out(idle, limits(0, 2), &mut state, 6, 0..130);
    assert_eq!(changes, [(60, 4), (120, 2)]);
    let reason = &last.because[0];
    assert_eq!((reason.reason, reason.value), (reasons::LIMITED_BY_SCALE_DOWN_RATE, 1.0));
    assert_eq!(reason.message, "1 would do, scaleDown.maxReplicasPerMinute is 2, and 2 were released in the last 60 s");
    assert!(last.is_limited());
    let (changes, last) = carry_out(idle, limits(0, 2), &mut state, 2, 130..200);
    assert_eq!((changes, last.is_limited()), (vec![(180, 1)], false));
}

#[test]
fn minimum_and_maximum_come_before_the_rates() {
    let least = |now, replicas| {
        let mut facts = idle(now, replicas);
        facts.settings.min_replicas = 8;
        facts
    };
    let decision = carry_out(least, limits(1, 1), &mut State::default(), 1, 0..2).1;
    assert_eq!((decision.replicas, reasons_of(&decision)), (8, vec![reasons::NO_TRAFFIC]));
    let most = |now, replicas| {
        let mut facts = idle(now, replicas);
        facts.settings.max_replicas = 3;
        facts
    };
    assert_eq!(carry_out(most, limits(1, 1), &mut State::default(), 9, 0..2).1.replicas, 3);
}

#[test]
fn a_limit_that_the_maximum_is_below_is_not_the_reason() {
    let decision = carry_out(flooded, limits(30, 0), &mut State::default(), 1, 0..2).1;
    assert_eq!(decision.because[0].reason, reasons::DEMAND, "{decision:#?}");
    let more = |now, replicas| Facts { replicas, ..fleet(now, &[(8.0, 500.0)]) };
    let decision = carry_out(more, limits(11, 0), &mut State::default(), 1, 0..2).1;
    assert_eq!((decision.replicas, decision.because[0].reason), (12, reasons::LIMITED_BY_MAX));
}

#[test]
fn a_schedule_is_kept_whatever_was_ordered() {
    let scheduled = |now, replicas| {
        let mut facts = flooded(now, replicas);
        facts.settings.floors = vec![ScheduledFloor { from: at(10_000), until: at(600_000), min_replicas: 9 }];
        facts.settings.startup_seconds = Some(2.0);
        facts
    };
    let (changes, last) = carry_out(scheduled, limits(1, 0), &mut State::default(), 1, 0..60);
    assert_eq!(changes, [(0, 2), (8, 9)]);
    assert_eq!((last.because[0].reason, last.because[0].value), (reasons::LIMITED_BY_SCALE_UP_RATE, 11.0));
}

#[test]
fn a_restart_keeps_the_count() {
    let mut state = State::default();
    carry_out(flooded, limits(3, 0), &mut state, 1, 0..2);
    let mut restarted = State::from_json(&state.to_json()).expect("its own text");
    let (changes, _) = carry_out(flooded, limits(3, 0), &mut restarted, 4, 20..70);
    let mut restarted = State::from_json(&restarted.to_json()).expect("its own text");
    assert_eq!((changes, restarted.changes.within_minute(at(70_000))), (vec![(60, 7)], (3, 0)));
}

#[test]
fn what_was_not_carried_out_does_not_count() {
    let mut state = State::default();
    let refused = |now, _| flooded(now, 1);
    let (_, last) = carry_out(refused, limits(3, 0), &mut state, 1, 0..40);
    assert_eq!(last.replicas, 4);
    assert!(last.because[0].message.ends_with("and 0 were ordered in the last 60 s"), "{:?}", last.because[0]);
}

#[test]
fn what_somebody_else_took_comes_back_no_faster_than_allowed() {
    let mut state = State::default();
    hold_for(|now| fleet(now, &[(6.0, 0.0); 8]), &mut state, 0, 20);
    let (changes, last) = carry_out(idle, limits(2, 0), &mut state, 2, 22..40);
    assert_eq!(changes, [(22, 4)], "the window still wants 8");
    assert_eq!(last.because[0].reason, reasons::STABILIZING);
}

#[test]
fn without_limits_nothing_is_remembered_and_nothing_is_decided_otherwise() {
    let (mut none, mut wide) = (State::default(), State::default());
    let (mut replicas, mut second) = (1, 0);
    for load in [60.0, 0.0, 20.0, 0.0] {
        for _ in 0..60 {
            let now = at(second * 1000);
            let mut facts = Facts { replicas, ..fleet(now, &[(8.0, load)]) };
            let one = decide(&facts, &mut none, now);
            facts.settings.rate_limits = limits(10_000, 10_000);
            assert_eq!(one, decide(&facts, &mut wide, now), "at {second} s");
            (replicas, second) = (one.replicas, second + 2);
        }
    }
    assert!(wide.to_json().contains("\"changes\""));
    assert!(!none.to_json().contains("\"changes\""));
    // A limit that is taken away is forgotten.
    decide(&idle(at(500_000), 1), &mut wide, at(500_000));
    assert!(!wide.to_json().contains("\"changes\""));
}
