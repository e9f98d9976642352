//! llm-d's published ramp, request by request: the knee of one replica, and what constant fleets attain.
//!
//! `cargo run --release -p autoscaler-sim --example events_ramp`
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use autoscaler_sim::events::{Settings, Stages, llmd_ramp, simulate};
use autoscaler_sim::{Discipline, Policy, RequestSource, Signals, Task};
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

fn main() {
    let preset = preset("qwen3-32b-h100-tp2").expect("a shipped preset");
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let workload = Workload { prompt_tokens: 4000.0, output_tokens: 1000.0, cached_share: 0.0 };
    let capacity = capacity(&preset.step, &workload, &preset.limits, &objective);
    let task = Task {
        objective,
        attainment: 0.99,
        startup_seconds: 120.0,
        min_replicas: 1,
        max_replicas: 8,
        step: preset.step,
        limits: preset.limits,
        workload,
        capacity,
        service_seconds: workload.steps() * capacity.inter_token_seconds,
    };
    println!("{}: {capacity:?}\n", preset.name);

    println!("one replica, steady load for three hours, queue by deadline");
    println!("requests/s  attained  mean ITL ms  TTFT p50 s  p99 s");
    for rate in [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6] {
        let settings = Settings { score_from_seconds: 600.0, ..Settings::new(&task, 0.0, 10_800.0) };
        let source = Stages::steady(10_800.0, rate, 4000, 1000);
        let run = simulate(&source, &mut Static(1), &task, &settings).expect("valid settings");
        let (itl, ttft) = (run.inter_token_mean_seconds * 1e3, run.ttft_seconds);
        println!("{rate:10.2}    {:.4}       {itl:6.1}      {:6.2} {:6.2}", run.attainment, ttft.p50, ttft.p99);
    }

    println!("\nthe ramp on a constant fleet, median of five seeds");
    println!("replicas  queue     attained  TTFT p99 s");
    for replicas in 5..=8 {
        for discipline in [Discipline::Fifo, Discipline::Deadline] {
            let ramp = llmd_ramp();
            let mut runs: Vec<(f64, f64)> = (1..=5)
                .map(|seed| {
                    let whole = Settings::new(&task, 0.0, ramp.duration_seconds());
                    let settings = Settings { seed, discipline, initial_replicas: replicas, ..whole };
                    let run = simulate(&ramp, &mut Static(replicas), &task, &settings).expect("valid settings");
                    (run.attainment, run.ttft_seconds.p99)
                })
                .collect();
            runs.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (attained, p99) = runs[2];
            println!("{replicas:8}  {:8}    {attained:.4}      {p99:6.2}", format!("{discipline:?}"));
        }
    }
}
