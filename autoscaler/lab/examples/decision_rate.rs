//! How long a thousand objects take to decide on one core: each has lived through two days and has eight engines.
//!
//! `cargo run --release -p autoscaler-lab --example decision_rate`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a measuring program: it prints and reads the clock"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use autoscaler_plan::{
    EngineFacts, EngineSample, Facts, Milestones, Objective, Observation, Phase, Queue, RateLimits, Rhythm,
    RouterEngineView, RouterFacts, RouterObservation, RouterReplica, RouterSample, Settings, State, SumCount, decide,
};
use jiff::{SignedDuration, Timestamp};

const OBJECTS: usize = 1000;
const ENGINES: usize = 8;
const PERIOD_SECONDS: f64 = 10.0;
const DAY_STEPS: usize = 8640;
const PROMPT_TOKENS: f64 = 1155.0;
const OUTPUT_TOKENS: f64 = 211.0;
const SERVICE_SECONDS: f64 = 12.0;

/// What is seen after so many steps of a daily wave.
fn facts(step: usize, finished: &mut f64) -> (Facts, Timestamp) {
    let seconds = step as f64 * PERIOD_SECONDS;
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds as i64 + 1_000_000);
    let rate = 40.0 + 25.0 * (step as f64 / DAY_STEPS as f64 * std::f64::consts::TAU).sin();
    let running = rate * SERVICE_SECONDS / ENGINES as f64;
    *finished += rate * PERIOD_SECONDS / ENGINES as f64;
    let sum = |mean: f64| Some(SumCount { sum: mean * *finished, count: *finished });
    let sample = EngineSample {
        has_vllm_metrics: true,
        running: Some(running),
        waiting: Some(0.0),
        kv_cache_usage: Some(running / 300.0),
        finished_total: Some(*finished),
        ttft: sum(0.2),
        inter_token_latency: Some(SumCount { sum: 0.05 * OUTPUT_TOKENS * *finished, count: OUTPUT_TOKENS * *finished }),
        prompt_tokens: sum(PROMPT_TOKENS),
        output_tokens: sum(OUTPUT_TOKENS),
        ..EngineSample::without_vllm_metrics(now)
    };
    let engines: Vec<EngineFacts> = (0..ENGINES)
        .map(|number| EngineFacts {
            id: format!("ns/engine-{number}"),
            phase: Phase::Ready { created: Timestamp::UNIX_EPOCH, since: Timestamp::UNIX_EPOCH },
            milestones: Milestones::default(),
            observation: Observation::Seen(sample.clone()),
        })
        .collect();
    let view = RouterEngineView { in_flight: running, ..RouterEngineView::default() };
    let views: BTreeMap<String, RouterEngineView> = engines.iter().map(|engine| (engine.id.clone(), view)).collect();
    let router = RouterSample {
        at: now,
        queue_depth: 0.0,
        received_total: *finished * ENGINES as f64,
        late_total: Some(0.0),
        slow_total: Some(0.0),
        unanswered_total: 0.0,
        arrivals_share: 1.0,
        engines: views,
    };
    let router = RouterReplica { id: "ns/router".to_owned(), observation: RouterObservation::Seen(router) };
    (
        Facts {
            settings: settings(),
            replicas: ENGINES as u32,
            engines,
            router: RouterFacts::Replicas(vec![router]),
            standby: None,
        },
        now,
    )
}

fn settings() -> Settings {
    Settings {
        min_replicas: 1,
        max_replicas: 50,
        objective: Objective { ttft_seconds: 3.0, inter_token_latency_seconds: 0.1, attainment: 0.99 },
        stabilization_seconds: 60.0,
        rate_limits: RateLimits::default(),
        startup_seconds: Some(240.0),
        control_period_seconds: PERIOD_SECONDS,
        capacity_prior: 64.0,
        engine_profile: None,
        floors: Vec::new(),
        rhythm: Rhythm::DAY,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    }
}

fn main() {
    let mut state = State::default();
    let mut finished = 0.0;
    for step in 0..2 * DAY_STEPS {
        let (facts, now) = facts(step, &mut finished);
        decide(&facts, &mut state, now);
    }
    let mut states = vec![state; OBJECTS];
    // A whole plan step each: the dearest kind of decision.
    let (facts, now) = facts(2 * DAY_STEPS, &mut finished);
    let begun = Instant::now();
    let replicas: u32 = states.iter_mut().map(|state| decide(&facts, state, now).replicas).sum();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{OBJECTS} objects with {ENGINES} engines each decided in {seconds:.3} s ({replicas} replicas in all)");
}
