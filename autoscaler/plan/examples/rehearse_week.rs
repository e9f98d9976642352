//! How long it takes to live through a week of the past: `cargo run --release -p autoscaler-plan --example rehearse_week`.
#![expect(clippy::disallowed_types, clippy::print_stdout, reason = "measures wall time and prints it")]

use std::time::Instant;

use autoscaler_plan::{Objective, Past, Queue, RateLimits, Rehearsed, ReplicaUnits, Rhythm, Settings};
use jiff::Timestamp;

fn main() {
    let settings = Settings {
        min_replicas: 1,
        max_replicas: 100,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 60.0,
        rate_limits: RateLimits::default(),
        startup_seconds: None,
        control_period_seconds: 2.0,
        capacity_prior: 32.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::DAY,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    };
    let arrivals = |step: u32| {
        let phase = f64::from(step % 8640) / 8640.0;
        let chance = f64::from(step.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        40.0 + 30.0 * (std::f64::consts::TAU * phase).sin() + 10.0 * chance
    };
    let past = Past {
        begin: Timestamp::UNIX_EPOCH,
        step_seconds: 10.0,
        per_second: (0..60_480).map(|step| Some(arrivals(step))).collect(),
    };
    for mean_replicas in [2.0, 8.0, 50.0] {
        let units = ReplicaUnits { service_seconds: 20.0, requests: 800.0 / mean_replicas };
        let began = Instant::now();
        let steps = Rehearsed::of(&past, &settings, &units, 240.0).map_or(0, |rehearsed| rehearsed.steps());
        println!("{mean_replicas} replicas on average: {steps} plan steps in {:.2} s", began.elapsed().as_secs_f64());
    }
}
