use super::*;
use crate::schedule::ScheduledFloor;

fn facts_with_floor(now: Timestamp, from: i64, until: i64, min_replicas: u32) -> Facts {
    let floors = vec![ScheduledFloor { from: at(from), until: at(until), min_replicas }];
    let engines = vec![ready(0, Observation::Seen(sample(now, 0.0, 0.0)))];
    Facts {
        settings: Settings { floors, ..settings() },
        replicas: 1,
        engines,
        router: RouterFacts::NotConfigured,
        standby: None,
    }
}

#[test]
fn a_scheduled_floor_is_ordered_one_start_up_time_ahead_and_says_so() {
    let mut state = State::default();
    // Starts take 30 s; the floor begins at 100 s.
    let early = decide(&facts_with_floor(at(68_000), 100_000, 200_000, 5), &mut state, at(68_000));
    assert_eq!(early.replicas, 1);
    let ordered = decide(&facts_with_floor(at(70_000), 100_000, 200_000, 5), &mut state, at(70_000));
    assert_eq!((ordered.replicas, ordered.headline().map(|reason| reason.reason)), (5, Some(reasons::SCHEDULE)));
    let message = &ordered.because[0].message;
    assert_eq!(message, "a schedule asks for 5 replicas from 2023-11-14T22:15:00Z on, and a start takes 30.0 s");
    let during = decide(&facts_with_floor(at(150_000), 100_000, 200_000, 5), &mut state, at(150_000));
    assert_eq!(during.because[0].message, "a schedule asks for 5 replicas until 2023-11-14T22:16:40Z");
}

#[test]
fn a_scheduled_floor_is_let_go_after_its_end_and_is_bounded_by_max_replicas() {
    let mut state = State::default();
    let during = decide(&facts_with_floor(at(10_000), 0, 200_000, 50), &mut state, at(10_000));
    assert_eq!((during.replicas, during.because[0].reason), (12, reasons::LIMITED_BY_MAX));
    assert_eq!(during.because[1].reason, reasons::SCHEDULE);
    let after = |seconds: i64, state: &mut State| {
        decide(&facts_with_floor(at(seconds * 1000), 0, 200_000, 50), state, at(seconds * 1000)).replicas
    };
    assert_eq!(after(199, &mut state), 12);
    assert_eq!(after(202, &mut state), 12, "the stabilisation window holds");
    assert_eq!(after(270, &mut state), 1);
}
