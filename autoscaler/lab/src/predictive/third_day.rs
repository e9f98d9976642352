//! The demo's three days in the simulator: the third one must show what was learned.

use std::path::Path;

use autoscaler_sim::fluid::{FluidSettings, Run, Scenario};
use autoscaler_sim::{Demand, EngineProfile, Request, RequestSource};
use engine_model::{Limits, StepTime, Workload};

use super::*;
use crate::trace::random::{exponential, stream};

/// The demo's settings (`e2e/demo/emulator.yaml`, `e2e/src/demo/scenario.rs`), in wall time: a recorded day is a minute.
const STEP_SECONDS: f64 = 0.25;
pub(super) const DAY_SECONDS: f64 = 60.0;
const TEMPO: f64 = 1.0 / 80.0;
pub(super) const STARTUP_SECONDS: f64 = 3.0;
const DEMO_STABILIZATION_SECONDS: f64 = 3.0;
const PEAK_REQUESTS_PER_SECOND: f64 = 190.0;
const PROMPT_TOKENS: u32 = 150;
const OUTPUT_TOKENS: f64 = 64.0;
/// Medians of five seeds still scatter by a tenth.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=25;

/// The packed sample as the demo replays it.
pub(super) struct Sample {
    /// By the minute of the recording.
    pub(super) requests_per_second: Vec<f64>,
}

impl Sample {
    pub(super) fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/demo/crane-11-sample.csv");
        let values: Vec<f64> = crate::trace::load_points(&path).unwrap().into_iter().map(|(_, value)| value).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        Self { requests_per_second: values.iter().map(|value| value / most * PEAK_REQUESTS_PER_SECOND).collect() }
    }
}

impl RequestSource for Sample {
    fn duration_seconds(&self) -> f64 {
        self.requests_per_second.len() as f64 * self.grain_seconds()
    }

    fn grain_seconds(&self) -> f64 {
        DAY_SECONDS / 1440.0
    }

    fn visit(&self, from_seconds: f64, to_seconds: f64, seed: u64, each: &mut dyn FnMut(&Request)) {
        let grain = self.grain_seconds();
        for (cell, rate) in self.requests_per_second.iter().enumerate() {
            let begin = cell as f64 * grain;
            if begin < from_seconds - grain / 2.0 || begin > to_seconds - grain / 2.0 {
                continue;
            }
            let random = &mut stream(&[seed, cell as u64]);
            let mut passed = exponential(random) / rate;
            while passed < grain {
                let output_tokens = OUTPUT_TOKENS * (0.25 + 0.75 * exponential(random)).min(4.0);
                each(&Request {
                    arrival_seconds: begin + passed,
                    prompt_tokens: PROMPT_TOKENS,
                    output_tokens: output_tokens.round().max(1.0) as u32,
                    prefix_group: 0,
                    shared_tokens: 0,
                });
                passed += exponential(random) / rate;
            }
        }
    }
}

/// One day of a run.
#[derive(Debug, Clone, Copy)]
struct Day {
    times_opt: f64,
    overflow: f64,
}

fn days(scenario: &Scenario<'_>, demand: &Demand, run: &Run) -> Vec<Day> {
    let steps = demand.steps_in(DAY_SECONDS);
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    (0..demand.replicas.len() / steps)
        .map(|day| {
            let day = day * steps..(day + 1) * steps;
            let billed = sum(&mut run.steps.replicas[day.clone()].iter().map(|n| f64::from(*n)));
            let optimum = sum(&mut scenario.optimum()[day.clone()].iter().map(|n| f64::from(*n)));
            let demanded = sum(&mut demand.replicas[day.clone()].iter().copied());
            let pairs = demand.replicas[day.clone()].iter().zip(&run.steps.ready[day]);
            let missed = sum(&mut pairs.map(|(demand, ready)| (demand - ready).max(0.0)));
            Day { times_opt: billed / optimum, overflow: missed / demanded }
        })
        .collect()
}

/// What the sample asks of the demo's engines, and what is asked of the policy.
pub(super) fn demanded(sample: &Sample, seed: u64, max_replicas: u32) -> (Demand, Task) {
    let objective = engine_model::Objective { ttft_seconds: 0.15, inter_token_seconds: 0.005 };
    let limits = Limits { max_sequences: 4, max_batched_tokens: 8192, kv_tokens: 100_000, usable_kv_share: 0.85 };
    let engine =
        EngineProfile { step: StepTime::from_milliseconds(2.5, 0.0, 0.0, 0.0), limits, objective, cached_share: 0.0 };
    let workload =
        Workload { prompt_tokens: f64::from(PROMPT_TOKENS), output_tokens: OUTPUT_TOKENS, cached_share: 0.0 };
    let demand = Demand::from_requests(sample, seed, STEP_SECONDS, &engine).unwrap();
    let task = Task::new(&engine, workload, 0.99, STARTUP_SECONDS, 2..=max_replicas);
    (demand, task)
}

/// Ours with the demo's settings.
pub(super) fn policy(task: &Task, decisions: Option<&DecisionSink>) -> Predictive {
    let mut policy = Predictive::new(&OwnSetup {
        task,
        queue: Discipline::Deadline,
        season_seconds: DAY_SECONDS,
        tempo: TEMPO,
        step_seconds: STEP_SECONDS,
        decisions,
    });
    policy.settings.stabilization_seconds = DEMO_STABILIZATION_SECONDS;
    policy
}

/// One run, of at most so many engines; without days, nothing of the days before is laid onto the present.
fn play(sample: &Sample, seed: u64, max_replicas: u32, with_days: bool) -> Vec<Day> {
    let (demand, task) = demanded(sample, seed, max_replicas);
    let mut policy = policy(&task, None);
    if !with_days {
        policy.settings.rhythm = policy.settings.rhythm.without_days();
    }
    let settings = FluidSettings {
        first_replicas: Some(2),
        keep_steps: true,
        ..FluidSettings::new(STARTUP_SECONDS, Discipline::Deadline)
    };
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let run = scenario.run(&mut policy);
    days(&scenario, &demand, &run)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Medians over the seeds: times the optimum on the first and on the third day, on the third without days, and the overflow
/// of the third.
fn medians(max_replicas: u32) -> [f64; 4] {
    let sample = Sample::load();
    let runs = |with_days| SEEDS.map(|seed| play(&sample, seed, max_replicas, with_days)).collect::<Vec<_>>();
    let (with, without) = (runs(true), runs(false));
    let of = |runs: &[Vec<Day>], value: fn(&[Day]) -> f64| median(runs.iter().map(|days| value(days)).collect());
    [
        of(&with, |days| days[0].times_opt),
        of(&with, |days| days[2].times_opt),
        of(&without, |days| days[2].times_opt),
        of(&with, |days| days[2].overflow),
    ]
}

#[test]
fn the_third_day_costs_far_less_than_the_first_and_than_without_days() {
    // A limit would hide what a plan costs that has learned nothing.
    let [first, third, without_days, overflow] = medians(1000);
    assert!(third <= 0.6 * first, "{third:.2} × optimum against {first:.2} on the first day");
    assert!(third <= 0.75 * without_days, "{third:.2} × optimum against {without_days:.2} without days");
    assert!(overflow <= 0.01, "{overflow:.4} of the demand missed");
}

#[test]
fn within_twelve_engines_the_third_day_still_shows_it() {
    // All twelve all day are 2.5 times the optimum, so the first day cannot cost more.
    let [first, third, without_days, overflow] = medians(12);
    assert!(third <= 0.75 * first, "{third:.2} × optimum against {first:.2} on the first day");
    assert!(third <= 0.75 * without_days, "{third:.2} × optimum against {without_days:.2} without days");
    assert!(overflow <= 0.01, "{overflow:.4} of the demand missed");
}
