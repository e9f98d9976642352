//! Whole engines, and whole runs.

mod engines;
mod runs;

use engine_model::{Limits, Objective, StepTime, Workload, capacity, preset};

use crate::policy::{Policy, Signals, Task};

/// Orders what a function of the time says.
struct Schedule<F>(F);

impl<F: FnMut(&Signals<'_>) -> u32> Policy for Schedule<F> {
    fn period_seconds(&self) -> f64 {
        10.0
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        (self.0)(signals)
    }
}

/// Requests of `prompt_tokens` and `output_tokens` on Qwen3-32B, two H100, TTFT 3 s and 100 ms between tokens.
fn task(prompt_tokens: u32, output_tokens: u32, max_replicas: u32) -> Task {
    let preset = preset("qwen3-32b-h100-tp2").unwrap();
    let workload = Workload {
        prompt_tokens: f64::from(prompt_tokens),
        output_tokens: f64::from(output_tokens),
        cached_share: 0.0,
    };
    task_of(preset.step, preset.limits, workload, max_replicas)
}

fn task_of(step: StepTime, limits: Limits, workload: Workload, max_replicas: u32) -> Task {
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let capacity = capacity(&step, &workload, &limits, &objective);
    Task {
        objective,
        attainment: 0.99,
        startup_seconds: 120.0,
        min_replicas: 0,
        max_replicas,
        step,
        limits,
        workload,
        capacity,
        service_seconds: workload.steps() * capacity.inter_token_seconds,
    }
}
