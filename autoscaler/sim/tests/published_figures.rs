//! Figures of our survey of policies, met again: recurring traces of gocrane (Apache-2.0) at a mean of 8 replicas, a
//! start-up of 240 s, steps of 10 s, three days of training. Needs the shared folder beside the repository (or where
//! the environment's `SHARED` says); skipped without.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use autoscaler_sim::fluid::{Block, FluidSettings, Scenario};
use autoscaler_sim::{Demand, Discipline, EngineProfile, Task, baselines};
use engine_model::{Objective, Workload, preset};

const STARTUP_SECONDS: f64 = 240.0;
const TRAINING_SECONDS: f64 = 3.0 * 86_400.0;
const MEAN_REPLICAS: f64 = 8.0;

fn trace(name: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let shared = std::env::var_os("SHARED").map_or_else(|| root.join("shared"), PathBuf::from);
    std::fs::read_to_string(shared.join("traces").join(name).with_extension("csv")).ok()
}

/// Two requests a second fill a replica, each for 20 s.
fn task() -> Task {
    let preset = preset("qwen3-32b-h100-tp2").unwrap();
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let engine = EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
    let workload = Workload { prompt_tokens: 1200.0, output_tokens: 200.0, cached_share: 0.0 };
    let mut task = Task::new(&engine, workload, 0.99, STARTUP_SECONDS, 1..=1000);
    task.capacity.concurrency = 40;
    task.capacity.requests_per_second = 2.0;
    task.service_seconds = 20.0;
    task
}

fn demand(csv: &str, task: &Task) -> Demand {
    let rows: Vec<(f64, f64)> = csv
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(at, value)| (at.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let mean = rows.iter().map(|(_, value)| value).sum::<f64>() / rows.len() as f64;
    let scale = MEAN_REPLICAS * task.capacity.requests_per_second / mean;
    let steps = ((rows[1].0 - rows[0].0) / 10.0).round() as usize;
    let rates: Vec<f64> = rows.iter().flat_map(|(_, value)| std::iter::repeat_n(value * scale, steps)).collect();
    Demand::from_rates(&rates, 10.0, task, Some(0)).unwrap()
}

/// Cheapest settings of a baseline that keep 1 % and 0.1 % overflow, as times the optimum.
fn cheapest(name: &str, scenario: &Scenario<'_>, task: &Task, demand: &Demand) -> [Option<f64>; 2] {
    let baseline = baselines::named(name).unwrap();
    let play = |setting| scenario.run(baseline.build(task, demand, setting).unwrap().as_mut()).total();
    let runs: Vec<Block> = (0..baseline.setting_count()).map(play).collect();
    [0.01, 0.001].map(|overflow| {
        let kept = runs.iter().filter(|run| run.overflow() <= overflow);
        kept.map(Block::times_opt).min_by(f64::total_cmp)
    })
}

struct Published {
    trace: &'static str,
    /// At 1 % and 0.1 % overflow.
    reactive: [f64; 2],
    law_a: [f64; 2],
    /// Optimum over a fixed fleet for the peak, in the scored time.
    optimum_over_static: f64,
}

/// From the survey's tables; its grid of settings is another (66 of the former, 462 of the latter), hence the slack.
const PUBLISHED: [Published; 3] = [
    Published { trace: "crane-1", reactive: [2.23, 6.61], law_a: [1.42, 3.04], optimum_over_static: 0.11 },
    Published { trace: "crane-11", reactive: [1.81, 4.10], law_a: [1.14, 1.39], optimum_over_static: 0.20 },
    Published { trace: "crane-14", reactive: [0.96, 1.05], law_a: [0.96, 1.03], optimum_over_static: 0.34 },
];

#[test]
fn reactive_and_the_recurring_floor_tuned_in_hindsight_cost_what_was_published() {
    for published in &PUBLISHED {
        let Some(csv) = trace(published.trace) else { return eprintln!("skipped: no shared traces") };
        let task = task();
        let demand = demand(&csv, &task);
        let settings = FluidSettings::new(STARTUP_SECONDS, Discipline::Fifo).scored_from(TRAINING_SECONDS);
        let scenario = Scenario::new(&demand, &task, settings).unwrap();
        let best = |name: &str| cheapest(name, &scenario, &task, &demand);
        let (reactive, law_a) = (best("reactive"), best("law-a"));
        let scored = &scenario.optimum()[scenario.scored_steps()];
        let peak = demand.replicas[scenario.scored_steps()].iter().copied().fold(0.0, f64::max).ceil();
        let optimum = scored.iter().map(|replicas| f64::from(*replicas)).sum::<f64>();
        let over_static = optimum / (peak * scored.len() as f64);
        let allowed =
            [0.01, 0.001].map(|share| scenario.optimum_with_misses(share).unwrap() / (optimum * demand.step_seconds));
        println!(
            "{}: mean {:.2} peak {peak} OPT/static {over_static:.3} OPT with misses {allowed:.3?} reactive {reactive:.2?} law A {law_a:.2?}",
            published.trace,
            demand.mean_replicas(),
        );
        let near = |found: Option<f64>, published: f64, slack: f64| {
            let found = found.unwrap();
            assert!((found / published - 1.0).abs() <= slack, "{found} instead of {published}");
        };
        near(reactive[0], published.reactive[0], 0.08);
        near(law_a[0], published.law_a[0], 0.12);
        // 0.1 % is decided by a few minutes of one seed's arrivals and by how fine the grid is.
        near(reactive[1], published.reactive[1], 0.35);
        near(law_a[1], published.law_a[1], 0.35);
        near(Some(over_static), published.optimum_over_static, 0.1);
        assert!((0.85..0.94).contains(&allowed[0]) && (0.94..0.985).contains(&allowed[1]), "{allowed:?}");
    }
}
