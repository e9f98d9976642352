//! How many requests a second the discrete-event simulator gets through on one core.
//!
//! `cargo run --release -p autoscaler-sim --example events_rate`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a measuring program: it prints and reads the clock"
)]

use std::time::Instant;

use autoscaler_sim::events::{EngineKind, Lengths, Settings, Stage, Stages, simulate};
use autoscaler_sim::{Policy, Signals, Task};
use engine_model::{Objective, Workload, capacity, preset};

struct Static(u32);

impl Policy for Static {
    fn period_seconds(&self) -> f64 {
        10.0
    }

    fn decide(&mut self, _signals: &Signals<'_>) -> u32 {
        self.0
    }
}

fn task(replicas: u32) -> Task {
    let preset = preset("qwen3-32b-h100-tp2").expect("a shipped preset");
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.05 };
    let workload = Workload { prompt_tokens: 1000.0, output_tokens: 400.0, cached_share: 0.0 };
    let capacity = capacity(&preset.step, &workload, &preset.limits, &objective);
    Task {
        objective,
        attainment: 0.99,
        startup_seconds: 240.0,
        min_replicas: replicas,
        max_replicas: replicas,
        step: preset.step,
        limits: preset.limits,
        workload,
        capacity,
        service_seconds: workload.steps() * capacity.inter_token_seconds,
    }
}

fn main() {
    println!("replicas  load  n*   engine    requests  attained  mean ITL ms  M requests/s");
    for (replicas, load, seconds, engine) in [
        (1, 0.6, 80_000.0, EngineKind::Leaping),
        (8, 0.3, 40_000.0, EngineKind::Leaping),
        (8, 0.6, 20_000.0, EngineKind::Leaping),
        (8, 0.9, 20_000.0, EngineKind::Leaping),
        (8, 1.1, 20_000.0, EngineKind::Leaping),
        (50, 0.6, 4_000.0, EngineKind::Leaping),
        (8, 0.6, 600.0, EngineKind::Stepping { prefix_cache: false }),
        (8, 0.6, 600.0, EngineKind::Stepping { prefix_cache: true }),
    ] {
        let task = task(replicas);
        let rate = load * f64::from(replicas) * task.capacity.requests_per_second;
        let source = Stages {
            stages: vec![Stage { seconds, requests_per_second: rate }],
            lengths: Lengths::Exponential,
            ..Stages::steady(0.0, 0.0, 1000, 400)
        };
        let settings = Settings { engine, initial_replicas: replicas, ..Settings::new(&task, 0.0, seconds) };
        let begun = Instant::now();
        let run = simulate(&source, &mut Static(replicas), &task, &settings).expect("valid settings");
        let rate = run.requests as f64 / begun.elapsed().as_secs_f64() / 1e6;
        let name = if engine == EngineKind::Leaping { "leaping" } else { "stepping" };
        println!(
            "{replicas:8} {load:5.2} {:3}   {name:8} {:9}    {:.4}       {:6.2}        {rate:6.3}",
            task.capacity.concurrency,
            run.requests,
            run.attainment,
            run.inter_token_mean_seconds * 1e3
        );
    }
}
