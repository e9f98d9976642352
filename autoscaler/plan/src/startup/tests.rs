use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("in range")
}

fn ready(id: &str, created: i64, since: i64) -> EngineFacts {
    EngineFacts {
        id: id.to_owned(),
        phase: Phase::Ready { created: at(created), since: at(since) },
        milestones: Milestones::default(),
        observation: crate::Observation::Absent { reason: String::new() },
    }
}

fn starting(id: &str, since: i64) -> EngineFacts {
    EngineFacts { phase: Phase::Starting { since: at(since) }, ..ready(id, since, since) }
}

#[test]
fn a_pod_stamped_with_the_second_of_its_order_answers_that_order_and_not_an_older_one() {
    let mut state = StartupState::default();
    let ordered = |milliseconds: i64| Timestamp::from_millisecond(1_000_000_000 + milliseconds).expect("in range");
    state.ordered(1, ordered(40_136));
    state.ordered(1, ordered(60_289));
    state.learn(&[ready("a", 60, 71)], at(71));
    assert_eq!(state.seconds, [10.711]);
    state.learn(&[ready("a", 60, 71), ready("b", 40, 72)], at(72));
    assert_eq!(state.seconds, [10.711, 31.864]);
}

#[test]
fn start_up_is_counted_from_the_order_not_from_the_pod() {
    let mut state = StartupState::default();
    state.ordered(2, at(0));
    state.learn(&[ready("a", 10, 70), ready("b", 12, 80)], at(80));
    assert_eq!(state.seconds, [70.0, 80.0]);
    let startup = state.quantiles(None);
    assert_eq!((startup.p50_seconds, startup.samples), (70.0, 2));
}

#[test]
fn the_wait_for_a_machine_and_the_image_are_told_apart() {
    let mut state = StartupState::default();
    state.ordered(2, at(0));
    let milestones = |scheduled, started| Milestones {
        scheduled: Some(at(scheduled)),
        containers_started: Some(at(started)),
        woken: None,
    };
    let cold = EngineFacts { milestones: milestones(150, 200), ..ready("a", 1, 300) };
    let warm = EngineFacts { milestones: milestones(1, 3), ..ready("b", 1, 100) };
    state.learn(&[cold, warm], at(300));
    let startup = state.quantiles(None);
    assert_eq!((startup.machine_p95_seconds, startup.image_p95_seconds), (Some(150.0), Some(50.0)));
    assert_eq!(state.machine_seconds, [1.0, 150.0]);
    assert_eq!(after(&[60.0]).machine_p95_seconds, None);
}

#[test]
fn an_engine_nobody_ordered_counts_from_its_creation() {
    let mut state = StartupState::default();
    state.learn(&[ready("a", 10, 70)], at(70));
    assert_eq!(state.seconds, [60.0]);
}

#[test]
fn an_engine_is_learned_once() {
    let mut state = StartupState::default();
    for second in 60..65 {
        state.learn(&[ready("a", 0, 60)], at(second));
    }
    assert_eq!(state.quantiles(None).samples, 1);
}

#[test]
fn a_withdrawn_order_does_not_lengthen_a_later_start() {
    let mut state = StartupState::default();
    state.ordered(1, at(0));
    state.withdrawn(1, at(5));
    state.learn(&[ready("a", 500, 560)], at(560));
    assert_eq!(state.seconds, [60.0]);
}

#[test]
fn the_prior_holds_until_an_engine_started_and_an_override_always() {
    let mut state = StartupState::default();
    assert_eq!(state.quantiles(None).p95_seconds, STARTUP_PRIOR_SECONDS);
    let believed = |state: &StartupState, tempo| state.believed_seconds(STARTUP_PRIOR_SECONDS, tempo);
    assert_eq!(believed(&state, 1.0 / 80.0), Some(1.5), "a replay starts its engines as much faster");
    state.learn(&[ready("a", 0, 60)], at(60));
    assert_eq!(state.quantiles(Some(0.5)).p95_seconds, 0.5);
    assert_eq!(believed(&state, 1.0), None);
}

#[test]
fn only_the_last_starts_are_remembered() {
    let mut state = StartupState::default();
    for start in 0..100 {
        state.learn(&[ready("a", start * 1000, start * 1000 + 10 + start)], at(start * 1000 + 999));
    }
    let startup = state.quantiles(None);
    assert_eq!(startup.samples as usize, REMEMBERED_STARTS);
    assert!(startup.p50_seconds > 90.0, "{startup:?}");
}

fn after(seconds: &[f64]) -> Startup {
    StartupState { seconds: seconds.iter().copied().collect(), ..StartupState::default() }.quantiles(None)
}

#[test]
fn the_upper_quantile_of_few_starts_leaves_room_and_closes_in_on_what_is_seen() {
    let one = after(&[60.0]).p95_seconds;
    assert!((80.0..120.0).contains(&one), "{one}");
    let alike = after(&[60.0; 32]).p95_seconds;
    assert!((60.0..65.0).contains(&alike) && alike < one, "{alike}");
    // Times scale: a demo that starts in a second is planned as one that takes minutes.
    assert!((after(&[0.6]).p95_seconds / one - 0.01).abs() < 1e-9);
}

#[test]
fn the_upper_quantile_of_a_lognormal_start_is_found_with_few_starts() {
    // Median 100 s and a spread of 0.25: 95 % start within 151 s. Twelve quantiles of it, in the middle of their shares.
    let normal = [-1.73, -1.15, -0.81, -0.55, -0.32, -0.10, 0.10, 0.32, 0.55, 0.81, 1.15, 1.73];
    let starts = normal.map(|deviations: f64| 100.0 * (0.25 * deviations).exp());
    let found = after(&starts).p95_seconds;
    assert!((140.0..170.0).contains(&found), "{found}");
}

#[test]
fn starts_that_bring_a_new_machine_are_in_the_upper_quantile() {
    let mut starts = vec![60.0; 28];
    starts.extend([300.0; 4]);
    assert!(after(&starts).p95_seconds > 180.0, "{:?}", after(&starts));
}

#[test]
fn the_horizon_is_a_start_and_a_period() {
    assert_eq!(Startup { p95_seconds: 90.0, ..after(&[60.0]) }.horizon_seconds(2.0), 92.0);
}

#[test]
fn an_engine_that_goes_away_before_it_is_ready_is_a_failure() {
    let mut state = StartupState::default();
    state.ordered(2, at(0));
    state.learn(&[starting("a", 1), starting("b", 1)], at(2));
    state.learn(&[starting("b", 1)], at(10));
    state.learn(&[ready("b", 1, 60)], at(60));
    state.learn(&[], at(70));
    let startup = state.quantiles(None);
    assert_eq!((startup.failures, startup.samples), (1, 1));
}

#[test]
fn an_engine_released_before_it_is_ready_is_no_failure() {
    let mut state = StartupState::default();
    state.learn(&[starting("a", 1), starting("b", 1), starting("c", 1)], at(2));
    state.withdrawn(2, at(3));
    state.learn(&[starting("c", 1)], at(4));
    assert_eq!(state.quantiles(None).failures, 0);
    state.learn(&[], at(5));
    assert_eq!(state.quantiles(None).failures, 1, "only two were released");
}

#[test]
fn a_release_long_ago_excuses_no_failure() {
    let mut state = StartupState::default();
    state.withdrawn(1, at(0));
    state.learn(&[starting("a", 900)], at(901));
    state.learn(&[], at(902));
    assert_eq!(state.quantiles(None).failures, 1);
}

#[test]
fn replicas_that_never_come_are_counted_once() {
    let mut state = StartupState::default();
    state.ordered(3, at(0));
    state.learn(&[ready("a", 1, 60)], at(60));
    assert_eq!(state.quantiles(None).stock_outs, 0);
    for second in [400, 500, 600] {
        state.learn(&[ready("a", 1, 60)], at(second));
    }
    assert_eq!(state.quantiles(None).stock_outs, 2);
}

#[test]
fn a_replica_that_comes_late_but_comes_is_a_slow_start() {
    let mut state = StartupState::default();
    state.ordered(1, at(0));
    state.learn(&[starting("a", 1)], at(300));
    state.learn(&[ready("a", 1, 310)], at(310));
    assert_eq!((state.seconds.back(), state.quantiles(None).stock_outs), (Some(&310.0), 0));
}
