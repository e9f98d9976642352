//! How long one run of each policy takes in the fluid simulator: 16 days in steps of 10 s.
//!
//! `cargo run -p autoscaler-sim --example fluid_rate`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a measuring program: it prints and reads the clock"
)]

use std::time::Instant;

use autoscaler_sim::fluid::{FluidSettings, Scenario};
use autoscaler_sim::{Demand, Discipline, EngineProfile, Task, baselines};
use engine_model::{Objective, Workload, preset};

fn main() -> Result<(), autoscaler_sim::SettingError> {
    let preset = preset("qwen3-32b-h100-tp2").unwrap_or_else(|| &engine_model::presets()[0]);
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let engine = EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
    let workload = Workload { prompt_tokens: 1200.0, output_tokens: 200.0, cached_share: 0.0 };
    let task = Task::new(&engine, workload, 0.99, 240.0, 1..=1000);
    // A daily wave with a spike every hour.
    let rate = |step: usize| {
        let wave = 8.0 + 5.0 * (step as f64 / 8640.0 * std::f64::consts::TAU).sin();
        task.capacity.requests_per_second * if step % 360 < 12 { 3.0 * wave } else { wave }
    };
    let rates: Vec<f64> = (0..16 * 8640).map(rate).collect();
    let demand = Demand::from_rates(&rates, 10.0, &task, Some(1))?;
    let started = Instant::now();
    let scenario = Scenario::new(&demand, &task, FluidSettings::new(240.0, Discipline::Deadline))?;
    println!("{:20} {:8.1} ms", "scenario and optimum", 1e3 * started.elapsed().as_secs_f64());
    let started = Instant::now();
    let allowed = scenario.optimum_with_misses(0.01);
    println!("{:20} {:8.1} ms {allowed:?}", "optimum, 1 % missed", 1e3 * started.elapsed().as_secs_f64());
    for baseline in baselines::all() {
        let started = Instant::now();
        let Some(mut policy) = baseline.build(&task, &demand, 0) else { continue };
        let run = scenario.run(policy.as_mut());
        let milliseconds = 1e3 * started.elapsed().as_secs_f64();
        println!("{:20} {milliseconds:8.1} ms  {:5.2} times the optimum", baseline.name, run.total().times_opt());
    }
    Ok(())
}
