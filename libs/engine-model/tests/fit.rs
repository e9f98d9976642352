//! Fits of made-up engines, whose parameters are known.

use engine_model::{Batch, FitError, Limits, Observation, Prior, StepTime, Workload, fit, preset, presets};
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { max_sequences: 256, max_batched_tokens: 8192, kv_tokens: 1_000_000, usable_kv_share: 0.85 };

fn workload(prompt_tokens: f64, output_tokens: f64) -> Workload {
    Workload { prompt_tokens, output_tokens, cached_share: 0.0 }
}

/// Levels and shapes that tell all four parameters apart.
fn grid() -> Vec<(f64, Workload)> {
    let shapes = [(200.0, 800.0), (1000.0, 1000.0), (4000.0, 200.0), (8000.0, 1000.0)];
    let levels = [1.0, 4.0, 16.0, 64.0, 160.0];
    levels.iter().flat_map(|n| shapes.map(|(prompt, output)| (*n, workload(prompt, output)))).collect()
}

fn measured(step: &StepTime, at: &[(f64, Workload)], error: impl Fn(usize) -> f64) -> Vec<Observation> {
    at.iter()
        .enumerate()
        .map(|(index, (n, shape))| {
            Observation::step(Batch::steady(*n, shape), step.steady_step_seconds(*n, shape) * error(index))
        })
        .collect()
}

/// Errors of up to `size` that look like chance and are the same in every run.
fn noise(size: f64) -> impl Fn(usize) -> f64 {
    move |index| 1.0 + size * (12.9898 * index as f64).sin()
}

#[test]
fn exact_measurements_give_the_parameters_back() {
    for known in presets() {
        let found = fit(&measured(&known.step, &grid(), |_| 1.0), None).expect(known.name).step;
        for (n, shape) in grid() {
            let off = found.steady_step_seconds(n, &shape) / known.step.steady_step_seconds(n, &shape) - 1.0;
            assert!(off.abs() < 1e-6, "{}: {off}", known.name);
        }
        assert!((found.fixed_seconds / known.step.fixed_seconds - 1.0).abs() < 1e-4, "{}", known.name);
    }
}

#[test]
fn wild_measurements_hardly_move_the_fit() {
    let step = preset("qwen3-32b-h100-tp2").expect("listed").step;
    // Two of twenty, in opposite directions and far off.
    let wild = |index| match index {
        5 => 8.0,
        12 => 0.2,
        other => noise(0.02)(other),
    };
    let found = fit(&measured(&step, &grid(), wild), None).expect("enough rows");
    let worst = grid()
        .iter()
        .map(|(n, shape)| (found.step.steady_step_seconds(*n, shape) / step.steady_step_seconds(*n, shape) - 1.0).abs())
        .fold(0.0, f64::max);
    assert!(worst < 0.06, "{worst}");
    assert!(found.effective_observations < 19.0, "{}", found.effective_observations);
}

#[test]
fn standard_errors_shrink_with_the_measurements() {
    let step = preset("qwen3-32b-h100-tp2").expect("listed").step;
    let once = fit(&measured(&step, &grid(), noise(0.03)), None).expect("enough rows");
    let many: Vec<_> = grid().into_iter().cycle().take(400).collect();
    let often = fit(&measured(&step, &many, noise(0.03)), None).expect("enough rows");
    let (wide, narrow) = (once.standard_errors().fixed_seconds, often.standard_errors().fixed_seconds);
    assert!(narrow < 0.4 * wide && narrow > 0.0, "{wide} then {narrow}");
    assert!((often.step.fixed_seconds - step.fixed_seconds).abs() < 4.0 * narrow);
    let shape = workload(1000.0, 1000.0);
    assert!(often.relative_error(16.0, &shape) < 0.01);
}

#[test]
fn first_tokens_tell_computing_from_context() {
    let step = StepTime::from_milliseconds(15.0, 0.06, 3e-5, 0.0);
    // Two shapes whose coefficients are nearly proportional, with errors as measured: steps alone put all of it on γ or β.
    let at: Vec<_> = [4.0, 8.0, 16.0, 32.0, 64.0]
        .into_iter()
        .flat_map(|n| [(n, workload(1024.0, 1024.0)), (n, workload(8192.0, 1024.0))])
        .collect();
    let mut rows = measured(&step, &at, noise(0.02));
    rows.extend(at.iter().map(|(n, shape)| {
        Observation::first_token(*n, shape, &LIMITS, engine_model::ttft_seconds(&step, *n, shape, &LIMITS) * 1.1)
    }));
    let found = fit(&rows, None).expect("enough rows").step;
    assert!((found.per_token_seconds / step.per_token_seconds - 1.0).abs() < 0.25, "{found:?}");
}

#[test]
fn without_measurements_the_prior_is_the_answer() {
    let prior = Prior { step: presets()[0].step, scale_deviation: 0.2, shape_deviation: 0.3 };
    let found = fit(&[], Some(&prior)).expect("a prior is enough");
    let shape = workload(1000.0, 200.0);
    for n in [1.0, 40.0, 200.0] {
        let off = found.step.steady_step_seconds(n, &shape) / prior.step.steady_step_seconds(n, &shape) - 1.0;
        assert!(off.abs() < 1e-6, "{off}");
        assert!((found.relative_error(n, &shape) / prior.relative_error(n, &shape) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn one_level_tells_the_speed_and_the_prior_the_shape() {
    let prior = Prior { step: presets()[0].step, scale_deviation: 1.0, shape_deviation: 0.3 };
    let step = StepTime {
        fixed_seconds: prior.step.fixed_seconds / 50.0,
        per_token_seconds: prior.step.per_token_seconds / 50.0,
        per_context_token_seconds: prior.step.per_context_token_seconds / 50.0,
        per_root_sequence_seconds: 0.0,
    };
    let shape = workload(1000.0, 200.0);
    let found = fit(&measured(&step, &[(8.0, shape); 20], |_| 1.0), Some(&prior)).expect("a prior").step;
    let off = found.steady_step_seconds(100.0, &shape) / step.steady_step_seconds(100.0, &shape) - 1.0;
    assert!(off.abs() < 0.05, "fifty times the speed, at twelve times the load: {off}");
}

#[test]
fn steps_that_grow_faster_than_their_load_have_a_small_fixed_part_where_there_is_a_prior() {
    let prior = Prior { step: presets()[0].step, scale_deviation: 2.0, shape_deviation: 0.7 };
    let shape = workload(1000.0, 200.0);
    let step = |n: f64| Observation::step(Batch::steady(n, &shape), 0.01 * n - 0.03).times(1e6);
    let steps: Vec<Observation> = [4.0, 5.0, 6.0, 8.0, 10.0, 12.0].map(step).into();
    assert_eq!(fit(&steps, None).expect_err("no fixed part"), FitError::NoFixedPart);
    let found = fit(&steps, Some(&prior)).expect("a prior").step;
    assert!(found.validate().is_ok() && found.fixed_seconds < 0.0011 * prior.step.fixed_seconds, "{found:?}");
}

#[test]
fn refusals_say_what_would_help() {
    let step = presets()[0].step;
    let few = fit(&measured(&step, &grid()[..3], |_| 1.0), None).expect_err("three of four");
    assert_eq!(few, FitError::TooFew { found: 3 });
    assert!(few.to_string().contains("at least 5"), "{few}");
    let bad = Observation::step(Batch::steady(4.0, &workload(10.0, 10.0)), f64::NAN);
    assert!(fit(&[bad], None).expect_err("not a number").to_string().starts_with("seconds = NaN"));
    let prior = Prior { step, scale_deviation: 0.0, shape_deviation: 0.3 };
    assert!(fit(&[], Some(&prior)).expect_err("a prior without width").to_string().starts_with("scaleDeviation = 0"));
}

proptest! {
    #[test]
    fn any_measurements_give_parameters_within_their_ranges_or_an_error(
        rows in prop::collection::vec((0.5..300.0f64, 1.0..9000.0f64, 1.0..2000.0f64, 1e-4..1.0f64), 0..30),
        with_prior in any::<bool>(),
    ) {
        let rows: Vec<_> = rows
            .iter()
            .map(|(n, prompt, output, seconds)| Observation::step(Batch::steady(*n, &workload(*prompt, *output)), *seconds))
            .collect();
        let prior = Prior { step: presets()[0].step, scale_deviation: 0.3, shape_deviation: 0.3 };
        if let Ok(found) = fit(&rows, with_prior.then_some(&prior)) {
            found.step.validate().expect("a fit is within its ranges");
            found.standard_errors().validate().map_or_else(|error| assert_eq!(error.field, "fixedSeconds"), |()| ());
            prop_assert!(found.relative_error(50.0, &workload(500.0, 500.0)).is_finite());
        }
    }
}
