use engine_model::{Preset, preset};
use jiff::Timestamp;

use super::*;
use crate::facts::SumCount;

const OBJECTIVE: Objective = Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 };
const NO_PROFILE: CapacityPrior<'static> = CapacityPrior { requests: 32.0, profile: None };

/// A made-up engine, watched each `period` seconds.
struct Engine {
    step: StepTime,
    workload: Workload,
    kv_tokens: f64,
    /// Largest relative error of what it shows.
    noise: f64,
    /// Whether it tells its tokens and its cache.
    tells_tokens: bool,
    period: f64,
    now: f64,
    random: u64,
    intervals: Intervals,
    between: SumCount,
    first: SumCount,
    prompts: SumCount,
    outputs: SumCount,
}

impl Engine {
    fn new(step: StepTime, period: f64) -> Self {
        let none = SumCount { sum: 0.0, count: 0.0 };
        Self {
            step,
            workload: Workload { prompt_tokens: 1000.0, output_tokens: 250.0, cached_share: 0.0 },
            kv_tokens: 1e7,
            noise: 0.0,
            tells_tokens: true,
            period,
            now: 0.0,
            random: 7,
            intervals: Intervals::default(),
            between: none,
            first: none,
            prompts: none,
            outputs: none,
        }
    }

    /// An engine that tells nothing of tokens, whose step takes `base + slope · n` seconds.
    fn line(base: f64, slope: f64, period: f64) -> Self {
        let per_request = ANY_ENGINE_WORKLOAD.computed_tokens() / ANY_ENGINE_WORKLOAD.steps();
        let step = StepTime::from_milliseconds(base * 1e3, slope * 1e3 / per_request, 0.0, 0.0);
        Self { tells_tokens: false, ..Self::new(step, period) }
    }

    /// Uniform in -1 to 1, the same in every run.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Serves `n` requests at once for one period while `waiting` wait, and is looked at.
    fn serve(&mut self, state: &mut CapacityState, n: f64, waiting: f64) {
        self.now += self.period;
        let error = 1.0 + self.noise * self.chance();
        let step = self.step.steady_step_seconds(n, &self.workload);
        let tokens = (n * self.period / step).floor();
        self.between.count += tokens;
        self.between.sum += tokens * step * error;
        self.first.count += 1.0;
        self.first.sum += 2.0 * step + if waiting > 0.0 { 30.0 } else { 0.0 };
        let ended = tokens / self.workload.output_tokens;
        for (sum, mean) in
            [(&mut self.prompts, self.workload.prompt_tokens), (&mut self.outputs, self.workload.output_tokens)]
        {
            sum.count += ended;
            sum.sum += ended * mean;
        }
        let seen = n * (1.0 + 0.5 * self.noise * self.chance());
        let told = TokenLoad {
            running: n,
            kv_cache_usage: Some((n * self.workload.mean_context_tokens() / self.kv_tokens).min(1.0)),
            kv_cache_tokens: None,
            prompt_tokens: Some(self.prompts),
            output_tokens: Some(self.outputs),
        };
        let load = EngineLoad {
            at: Timestamp::from_millisecond(1_700_000_000_000 + (self.now * 1000.0) as i64).expect("in range"),
            in_service: seen,
            waiting,
            queue: 0.0,
            is_busiest: true,
            ttft: Some(self.first),
            inter_token_latency: Some(self.between),
            tokens: if self.tells_tokens { told } else { TokenLoad::default() },
            period_seconds: self.period,
        };
        state.learn(&mut self.intervals, &load, &OBJECTIVE);
    }

    /// Serves a load that wanders between `least` and `most` for some looks.
    fn wander(&mut self, state: &mut CapacityState, looks: usize, least: f64, most: f64, prior: &CapacityPrior<'_>) {
        for look in 0..looks {
            let wave = 0.5 + 0.5 * (look as f64 * 0.21).sin();
            self.serve(state, (least + (most - least) * wave).round(), 0.0);
            state.at(&OBJECTIVE, prior, 1.0);
        }
    }

    /// The capacity that whoever knows the engine would plan with.
    fn truth(&self) -> f64 {
        largest(|n| self.step.steady_step_seconds(n, &self.workload) <= OBJECTIVE.inter_token_latency_seconds)
            .expect("in reach")
            .min(0.85 * self.kv_tokens / self.workload.mean_context_tokens())
    }
}

const ANY_ENGINE_WORKLOAD: Workload = Workload { prompt_tokens: 1000.0, output_tokens: 250.0, cached_share: 0.0 };

fn shipped(name: &str) -> Preset {
    *preset(name).expect("shipped")
}

fn scaled(step: &StepTime, by: f64) -> StepTime {
    StepTime {
        fixed_seconds: step.fixed_seconds * by,
        per_token_seconds: step.per_token_seconds * by,
        per_context_token_seconds: step.per_context_token_seconds * by,
        per_root_sequence_seconds: step.per_root_sequence_seconds * by,
    }
}

fn off(capacity: &Capacity, truth: f64) -> f64 {
    (capacity.requests / truth - 1.0).abs()
}

fn learned(base: f64, slope: f64, period: f64, loads: &[f64]) -> Capacity {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(base, slope, period));
    for _ in 0..20 {
        for &n in loads {
            for _ in 0..8 {
                engine.serve(&mut state, n, 0.0);
            }
        }
    }
    state.at(&OBJECTIVE, &NO_PROFILE, 1.0)
}

#[test]
fn the_load_at_which_tokens_get_too_slow_is_the_capacity() {
    // 10 ms + 2 ms a request: 50 ms at 20 requests.
    for period in [0.25, 2.0] {
        let capacity = learned(0.010, 0.002, period, &[2.0, 6.0, 10.0, 14.0]);
        assert_eq!(capacity.source, CapacitySource::InterTokenLatency, "{capacity:?}");
        assert!(off(&capacity, 20.0) < 0.05, "{period}: {capacity:?}");
        assert!(capacity.confidence > 0.8, "{capacity:?}");
    }
}

#[test]
fn engines_of_every_shipped_profile_are_learned_within_five_percent_from_any_start() {
    for preset in engine_model::presets() {
        let mut engine = Engine { noise: 0.05, ..Engine::new(preset.step, 2.0) };
        let truth = engine.truth();
        let mut state = CapacityState::default();
        engine.wander(&mut state, 150, 0.1 * truth, 0.7 * truth, &NO_PROFILE);
        let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
        assert!(off(&capacity, truth.min(1024.0)) < 0.05, "{}: {truth:.1}, {capacity:?}", preset.name);
    }
}

#[test]
fn a_profile_wrong_by_a_fifth_is_corrected() {
    let profile = shipped("qwen3-32b-h100-tp2");
    for by in [0.8, 1.25] {
        let mut engine = Engine { noise: 0.03, ..Engine::new(scaled(&profile.step, by), 2.0) };
        let prior = CapacityPrior { requests: 32.0, profile: Some(&profile) };
        let (truth, mut state) = (engine.truth(), CapacityState::default());
        let before = state.at(&OBJECTIVE, &prior, 1.0);
        assert_eq!((before.source, before.confidence), (CapacitySource::Profile, 0.0));
        assert!(off(&before, truth) > 0.15, "{before:?}");
        // Even at a load far below its limit the engine shows how fast it is.
        engine.wander(&mut state, 20, 10.0, 40.0, &prior);
        let early = state.at(&OBJECTIVE, &prior, 1.0);
        assert!(off(&early, truth) < 0.10, "{truth}: {early:?}");
        engine.wander(&mut state, 150, 30.0, 0.8 * truth, &prior);
        let after = state.at(&OBJECTIVE, &prior, 1.0);
        assert!(off(&after, truth) < 0.05, "{truth}: {after:?}");
        assert!(after.confidence > early.confidence, "{early:?} {after:?}");
    }
}

#[test]
fn with_little_seen_the_prior_holds_and_confidence_grows_with_evidence() {
    let mut engine = Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0);
    let mut state = CapacityState::default();
    let mut last = state.at(&OBJECTIVE, &NO_PROFILE, 1.0).confidence;
    assert!(last.abs() < f64::EPSILON);
    engine.wander(&mut state, 3, 1.0, 2.0, &NO_PROFILE);
    assert!(off(&state.at(&OBJECTIVE, &NO_PROFILE, 1.0), 32.0) < 0.01);
    for most in [20.0, 40.0, 70.0] {
        engine.wander(&mut state, 60, 1.0, most, &NO_PROFILE);
        let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
        assert!(capacity.confidence > last, "{last} then {capacity:?}");
        last = capacity.confidence;
    }
}

#[test]
fn longer_prompts_lower_the_capacity_as_soon_as_they_come() {
    let mut engine = Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0);
    let mut state = CapacityState::default();
    engine.wander(&mut state, 200, 10.0, 80.0, &NO_PROFILE);
    let before = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    engine.workload.prompt_tokens = 4000.0;
    let truth = engine.truth();
    // Traffic of half an hour, at a load that alone would not show the new limit.
    for look in 0..900 {
        state.fade(2.0, 1200.0);
        engine.wander(&mut state, 1, 6.0, 6.0 + f64::from(look % 6), &NO_PROFILE);
    }
    let after = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    assert!(after.prompt_tokens.is_some_and(|tokens| tokens > 3500.0), "{after:?}");
    assert!(before.requests > 2.0 * truth && off(&after, truth) < 0.2, "{truth}: {before:?} then {after:?}");
}

#[test]
fn a_full_cache_is_the_limit_where_latency_is_not() {
    let mut engine = Engine { kv_tokens: 60_000.0, ..Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0) };
    let (truth, mut state) = (engine.truth(), CapacityState::default());
    engine.wander(&mut state, 60, 5.0, 30.0, &NO_PROFILE);
    let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    assert_eq!(capacity.source, CapacitySource::KvCache, "{capacity:?}");
    assert!(off(&capacity, truth) < 0.05, "{truth}: {capacity:?}");
}

#[test]
fn what_a_full_cache_admits_changes_with_the_requests() {
    let mut engine = Engine { kv_tokens: 60_000.0, ..Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0) };
    let mut state = CapacityState::default();
    let mut serve = |engine: &mut Engine, n: f64, waiting: f64| {
        for _ in 0..300 {
            state.fade(2.0, 400.0);
            engine.serve(&mut state, n, waiting);
        }
        state.at(&OBJECTIVE, &NO_PROFILE, 1.0)
    };
    // 50 requests fill the cache and others wait; then come short ones, few at a time.
    let long = serve(&mut engine, 50.0, 7.0);
    assert!((40.0..=51.0).contains(&long.requests), "{long:?}");
    engine.workload = Workload { prompt_tokens: 300.0, output_tokens: 100.0, cached_share: 0.0 };
    let short = serve(&mut engine, 30.0, 0.0);
    assert!(short.requests > 58.0, "{short:?}");
}

#[test]
fn a_cache_size_that_is_told_counts_before_any_use_is_seen() {
    let (mut state, mut intervals) = (CapacityState::default(), Intervals::default());
    let load = EngineLoad {
        at: Timestamp::UNIX_EPOCH,
        in_service: 0.0,
        waiting: 0.0,
        queue: 0.0,
        is_busiest: true,
        ttft: None,
        inter_token_latency: None,
        tokens: TokenLoad { kv_cache_tokens: Some(9000.0), ..TokenLoad::default() },
        period_seconds: 2.0,
    };
    state.learn(&mut intervals, &load, &OBJECTIVE);
    let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    assert_eq!(capacity.source, CapacitySource::KvCache);
    assert!((capacity.requests - 0.85 * 9000.0 / 1125.0).abs() < 1e-9, "{capacity:?}");
}

#[test]
fn a_request_is_in_service_for_its_prefill_and_its_answer() {
    let mut engine = Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0);
    let (truth, mut state) = (engine.truth(), CapacityState::default());
    engine.wander(&mut state, 200, 10.0, 0.8 * truth, &NO_PROFILE);
    let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    let answer = 250.0 * 0.05;
    let seconds = capacity.service_seconds.expect("tokens are told");
    assert!((answer..answer + 0.5).contains(&seconds), "{seconds}");
    assert!(capacity.output_tokens.is_some_and(|tokens| (tokens - 250.0).abs() < 1.0));
}

#[test]
fn what_the_day_taught_is_known_after_a_night_at_low_load() {
    let mut engine = Engine { noise: 0.03, ..Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0) };
    let (truth, mut state) = (engine.truth(), CapacityState::default());
    engine.wander(&mut state, 200, 10.0, 0.8 * truth, &NO_PROFILE);
    // Ten hours at one to three requests; memory as with a start-up time of four minutes.
    for look in 0..1800 {
        state.fade(20.0, 4800.0);
        engine.serve(&mut state, f64::from(1 + look % 3), 0.0);
        if look % 100 == 0 {
            state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
        }
    }
    let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    assert!(off(&capacity, truth) < 0.07, "{truth}: {capacity:?}");
}

#[test]
fn nothing_is_believed_far_beyond_what_was_seen() {
    let capacity = learned(0.001, 0.00001, 2.0, &[1.0, 2.0, 3.0]);
    assert!(capacity.requests <= 32.0, "{capacity:?}");
    let capacity = learned(0.001, 0.00001, 2.0, &[20.0, 40.0, 60.0]);
    assert_eq!(capacity.source, CapacitySource::Proven);
    assert!((100.0..=120.0).contains(&capacity.requests), "{capacity:?}");
}

#[test]
fn an_engine_seen_full_carries_what_it_ran_meanwhile() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.001, 0.0001, 0.25));
    for _ in 0..8 {
        engine.serve(&mut state, 4.0, 7.0);
    }
    let capacity = state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    assert!((capacity.requests - 4.0).abs() < 1e-9, "{capacity:?}");
    assert_eq!(capacity.source, CapacitySource::Saturation);
    assert!(capacity.confidence > 0.5, "{capacity:?}");
}

#[test]
fn a_queue_that_stands_while_the_batch_still_grows_is_not_full() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.001, 0.0001, 0.25));
    for n in [1.0, 4.0, 9.0, 16.0] {
        engine.serve(&mut state, n, 7.0);
    }
    assert_eq!(state.at(&OBJECTIVE, &NO_PROFILE, 1.0).source, CapacitySource::Prior);
}

#[test]
fn a_limit_that_has_risen_is_seen_when_more_runs_and_nobody_waits() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.001, 0.0001, 0.25));
    for _ in 0..8 {
        engine.serve(&mut state, 4.0, 7.0);
    }
    for _ in 0..3 {
        engine.serve(&mut state, 9.0, 0.0);
    }
    assert!(state.at(&OBJECTIVE, &NO_PROFILE, 1.0).requests >= 9.0);
}

#[test]
fn an_objective_nobody_can_meet_is_said_and_does_not_order_a_fleet() {
    let capacity = learned(0.2, 0.001, 2.0, &[1.0, 2.0, 4.0, 8.0]);
    assert!(capacity.objective_out_of_reach);
    assert!((capacity.requests - 32.0).abs() < 1e-9);
    assert_eq!(capacity.source, CapacitySource::Prior);
}

#[test]
fn first_tokens_that_waited_in_a_queue_do_not_lower_the_capacity() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.001, 0.0001, 2.0));
    for n in [2.0, 4.0, 6.0, 8.0].repeat(10) {
        engine.serve(&mut state, n, 5.0);
        state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    }
    assert_ne!(state.at(&OBJECTIVE, &NO_PROFILE, 1.0).source, CapacitySource::TimeToFirstToken);
}

#[test]
fn first_tokens_that_come_late_without_a_queue_lower_the_capacity() {
    let strict = Objective { ttft_seconds: 0.05, ..OBJECTIVE };
    let mut engine = Engine::new(shipped("qwen3-32b-h100-tp2").step, 2.0);
    let mut state = CapacityState::default();
    engine.wander(&mut state, 100, 2.0, 60.0, &NO_PROFILE);
    let capacity = state.at(&strict, &NO_PROFILE, 1.0);
    // Two steps of 13.8 + 0.31 n ms are 50 ms at 36 requests.
    assert_eq!(capacity.source, CapacitySource::TimeToFirstToken, "{capacity:?}");
    assert!((25.0..45.0).contains(&capacity.requests), "{capacity:?}");
}

#[test]
fn a_restarted_engine_whose_counters_fell_teaches_nothing_wrong() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.010, 0.002, 2.0));
    for n in [2.0, 6.0, 10.0, 14.0].repeat(20) {
        engine.serve(&mut state, n, 0.0);
        engine.serve(&mut state, n, 0.0);
    }
    let before = state.at(&OBJECTIVE, &NO_PROFILE, 1.0).requests;
    engine.between = SumCount { sum: 0.0, count: 0.0 };
    engine.first = SumCount { sum: 0.0, count: 0.0 };
    for _ in 0..4 {
        engine.serve(&mut state, 10.0, 0.0);
    }
    assert!((state.at(&OBJECTIVE, &NO_PROFILE, 1.0).requests - before).abs() < 1.0);
}

#[test]
fn wild_samples_hardly_move_the_capacity() {
    let (mut state, mut engine) = (CapacityState::default(), Engine::line(0.010, 0.002, 2.0));
    for n in [2.0, 6.0, 10.0, 14.0].repeat(20) {
        engine.serve(&mut state, n, 0.0);
        engine.serve(&mut state, n, 0.0);
        state.at(&OBJECTIVE, &NO_PROFILE, 1.0);
    }
    let before = state.at(&OBJECTIVE, &NO_PROFILE, 1.0).requests;
    for n in [14.0, 2.0, 6.0] {
        engine.between.sum += 1000.0;
        engine.serve(&mut state, n, 0.0);
    }
    let after = state.at(&OBJECTIVE, &NO_PROFILE, 1.0).requests;
    assert!((after / before - 1.0).abs() < 0.05, "{before} → {after}");
}

#[test]
fn what_was_learned_survives_its_text() {
    let mut engine = Engine { noise: 0.02, ..Engine::new(shipped("gpt-oss-120b-h100-tp2").step, 2.0) };
    let mut state = CapacityState::default();
    engine.wander(&mut state, 100, 2.0, 80.0, &NO_PROFILE);
    let text = serde_json::to_string(&state).expect("numbers");
    assert!(text.len() < 4096, "{} bytes", text.len());
    let mut read: CapacityState = serde_json::from_str(&text).expect("its own text");
    let (one, other) = (read.at(&OBJECTIVE, &NO_PROFILE, 1.0), state.at(&OBJECTIVE, &NO_PROFILE, 1.0));
    assert!(off(&one, other.requests) < 1e-9 && one.source == other.source, "{one:?} {other:?}");
}
