use autoscaler_sim::optimum;
use proptest::prelude::*;

use super::*;
use crate::decide::tests::settings;

/// One look for each plan step.
fn settings_of(least: u32, most: u32) -> Settings {
    Settings { min_replicas: least, max_replicas: most, control_period_seconds: 10.0, ..settings() }
}

fn startup(steps: usize) -> Startup {
    let seconds = steps as f64 * 10.0;
    Startup {
        p50_seconds: seconds,
        p95_seconds: 2.0 * seconds,
        samples: 9,
        failures: 0,
        machine_p95_seconds: None,
        image_p95_seconds: None,
        stock_outs: 0,
    }
}

fn at(step: usize) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + step as i64 * 10).expect("in range")
}

/// The score after one look in each step.
fn scored(state: &mut ScoreState, settings: &Settings, startup_steps: usize, periods: &[Period]) -> Option<Score> {
    let startup = startup(startup_steps);
    periods.iter().enumerate().map(|(step, period)| state.advance(settings, &startup, *period, at(step))).last()?
}

fn period(demand: f64, billed: u32) -> Period {
    let billed = f64::from(billed);
    Period { billed, demand, missed: (demand - billed).max(0.0) }
}

proptest! {
    #[test]
    fn the_optimum_is_that_of_the_simulator_step_for_step(
        demand in prop::collection::vec(0.0..6.0f64, 2..120), startup_steps in 1usize..12,
    ) {
        let settings = settings_of(0, 100);
        let periods: Vec<Period> = demand.iter().map(|demand| period(*demand, 3)).collect();
        let score = scored(&mut ScoreState::default(), &settings, startup_steps, &periods);
        // The last look opens a step, and a step waits for its start-up time.
        let known = demand.len() - 1;
        let steps = known.saturating_sub(startup_steps);
        let schedule = optimum::schedule(&optimum::need(&demand[..known], 1.0), startup_steps);
        let expected: u32 = schedule[..steps].iter().sum();
        let score = score.unwrap_or_default();
        prop_assert!((score.seconds - steps as f64 * 10.0).abs() < 1e-6);
        prop_assert!((score.optimum_replica_seconds - f64::from(expected) * 10.0).abs() < 1e-6);
        let missed: f64 = demand[..steps].iter().map(|demand| (demand - 3.0).max(0.0)).sum();
        prop_assert!((score.missed_replica_seconds - missed * 10.0).abs() < 1e-6);
    }

    #[test]
    fn whoever_holds_what_the_optimum_holds_has_no_regret(
        demand in prop::collection::vec(0.0..6.0f64, 40..120), startup_steps in 1usize..12,
    ) {
        let schedule = optimum::schedule(&optimum::need(&demand, 1.0), startup_steps);
        let periods: Vec<Period> = demand.iter().zip(&schedule).map(|(demand, held)| period(*demand, *held)).collect();
        // Beyond the end of the trace the optimum holds nothing more: leave the last start-up time out.
        let score = scored(&mut ScoreState::default(), &settings_of(0, 100), startup_steps, &periods[..periods.len() - 1]);
        let regret = score.and_then(|score| score.regret_ratio()).unwrap_or(0.0);
        prop_assert!(regret.abs() < 1e-9, "{}", regret);
    }

    #[test]
    fn a_restart_changes_no_score(
        demand in prop::collection::vec(0.0..6.0f64, 2..80), startup_steps in 1usize..12, cut in 0usize..80,
    ) {
        let settings = settings_of(0, 100);
        let (mut whole, mut cut_state) = (ScoreState::default(), ScoreState::default());
        for (step, demand) in demand.iter().enumerate() {
            if step == cut {
                let text = serde_json::to_string(&cut_state).expect("plain");
                cut_state = serde_json::from_str(&text).expect("its own text");
            }
            let startup = startup(startup_steps);
            let left = whole.advance(&settings, &startup, period(*demand, 3), at(step));
            let right = cut_state.advance(&settings, &startup, period(*demand, 3), at(step));
            prop_assert_eq!(left, right);
        }
    }
}

#[test]
fn bounds_of_the_fleet_bind_the_optimum_too() {
    let periods = vec![period(0.2, 2); 30];
    let score = scored(&mut ScoreState::default(), &settings_of(2, 4), 3, &periods).expect("scored");
    assert_eq!(score.regret_ratio(), Some(0.0));
    let periods = vec![period(9.0, 4); 30];
    let score = scored(&mut ScoreState::default(), &settings_of(2, 4), 3, &periods).expect("scored");
    assert_eq!(score.regret_ratio(), Some(0.0));
    assert!((score.missed_share() - 5.0 / 9.0).abs() < 1e-9, "{score:?}");
}

#[test]
fn a_start_up_time_that_is_relearned_scores_every_step_once() {
    let settings = settings_of(0, 100);
    let mut state = ScoreState::default();
    for step in 0..200 {
        let startup = startup([3, 9, 1, 6][step / 50]);
        state.advance(&settings, &startup, period(2.0, 3), at(step));
    }
    let score = state.score(10.0).expect("scored");
    assert!((score.seconds - (199.0 - 6.0) * 10.0).abs() < 1e-9, "{score:?}");
    assert!((score.regret_ratio().expect("demand") - 0.5).abs() < 1e-9);
}

#[test]
fn a_gap_in_the_looks_longer_than_a_start_is_not_scored_as_if_it_were_known() {
    let settings = settings_of(0, 100);
    let mut state = ScoreState::default();
    let mut look = |step: usize, billed: u32| state.advance(&settings, &startup(5), period(1.0, billed), at(step));
    let before = (0..=20).filter_map(|step| look(step, 1)).last().expect("scored");
    assert_eq!(look(2000, 7), Some(before));
    assert!((before.seconds - 150.0).abs() < 1e-9, "{before:?}");
}

#[test]
fn seven_seasons_are_remembered_in_a_few_kilobytes() {
    let settings = settings_of(0, 100);
    let mut state = ScoreState::default();
    let last = (0..9 * 8640).map(|step| {
        let demand = if step < 2 * 8640 { 4.1234 } else { 1.0987 };
        state.advance(&settings, &startup(24), period(demand, 5), at(step))
    });
    let score = last.last().flatten().expect("scored");
    assert!((6.7 * 86_400.0..=7.0 * 86_400.0).contains(&score.seconds), "{}", score.seconds);
    // The first two days are out of sight.
    assert!((score.regret_ratio().expect("demand") - 1.5).abs() < 1e-9, "{score:?}");
    let text = serde_json::to_string(&state).expect("plain");
    assert!(text.len() < 6_000, "{} bytes", text.len());
}
