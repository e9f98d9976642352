//! The laboratory's two engines (`autoscaler-sim`) against this one: the same requests get the same answers at the same time.
//! And both against a load that a real vLLM served: the same steps, preemptions and order of answers.

use autoscaler_sim::Request as Arrival;
use autoscaler_sim::events::{EngineKind, Replay, replay};
use engine_model::Limits;
use proptest::prelude::*;

use super::tests::run_until_idle;
use super::*;

/// vLLM's default, and the simulator's.
const BLOCK_TOKENS: u32 = 16;
const STEP: StepTime = StepTime::from_milliseconds(10.0, 0.05, 1e-3, 0.7);
/// Steps are rounded to nanoseconds here.
const ROUNDING_SECONDS: f64 = 1e-5;

/// The engine that both are.
#[derive(Debug, Clone, Copy)]
struct Setup {
    limits: Limits,
    block_tokens: u32,
    step: StepTime,
}

/// First and last token of one request, in seconds, and what was found in the prefix cache.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    first_token_seconds: f64,
    finish_seconds: f64,
    cached_tokens: u32,
}

fn scheduler(setup: &Setup, prefix_caching: bool) -> Scheduler {
    let Setup { limits, block_tokens, step } = *setup;
    Scheduler::new(SchedulerConfig {
        max_num_seqs: limits.max_sequences,
        max_num_batched_tokens: limits.max_batched_tokens,
        max_model_len: 8192,
        block_size: block_tokens,
        // As in vLLM, one block is never given out.
        num_blocks: (limits.kv_tokens / u64::from(block_tokens)) as u32 + 1,
        prefix_caching,
        max_num_queued_reqs: None,
        step,
        time_scale: 1.0,
        kv_sample: None,
    })
}

/// The group's tokens as far as they are shared, then tokens that nobody else has.
fn prompt(id: usize, arrival: &Arrival, block_tokens: u32) -> Chain {
    let mut chain = Chain::new(block_tokens, 0);
    for place in 0..arrival.prompt_tokens {
        let is_shared = arrival.prefix_group != 0 && place < arrival.shared_tokens;
        let owner = if is_shared { arrival.prefix_group as u32 } else { 1000 + id as u32 };
        chain.push(owner * 10_000 + place);
    }
    chain
}

/// What this engine makes of the arrivals, in their order, and how often it preempted.
fn emulated(setup: &Setup, prefix_caching: bool, arrivals: &[Arrival]) -> (Vec<Answered>, u64) {
    let mut scheduler = scheduler(setup, prefix_caching);
    let mut answers = vec![Answered::default(); arrivals.len()];
    let mut progress = Vec::new();
    let mut step = |scheduler: &mut Scheduler, end: Duration| {
        scheduler.advance(end, &mut progress);
        for one in progress.drain(..) {
            let answer = &mut answers[one.id as usize];
            answer.cached_tokens = one.cached_tokens;
            answer.finish_seconds = end.as_secs_f64();
            if one.emitted == 1 {
                answer.first_token_seconds = end.as_secs_f64();
            }
        }
    };
    for (id, arrival) in arrivals.iter().enumerate() {
        let now = Duration::from_secs_f64(arrival.arrival_seconds);
        while let Some(end) = scheduler.next_event().filter(|end| *end <= now) {
            step(&mut scheduler, end);
        }
        let request = NewRequest {
            arrived: now,
            prompt: prompt(id, arrival, setup.block_tokens),
            output_tokens: arrival.output_tokens,
            max_tokens: arrival.output_tokens,
            finish: FinishReason::Length,
            seed: id as u64,
        };
        scheduler.submit(now, request).expect("no bound on the queue");
    }
    while let Some(end) = scheduler.next_event() {
        step(&mut scheduler, end);
    }
    assert!(run_until_idle(&mut scheduler).is_empty());
    let preemptions = scheduler.stats().preemptions;
    (answers, preemptions)
}

/// As below, with vLLM's usual blocks.
fn assert_agreement(kind: EngineKind, limits: &Limits, arrivals: &[Arrival]) -> (u64, u64) {
    let setup = Setup { limits: *limits, block_tokens: BLOCK_TOKENS, step: STEP };
    let (simulated, cached) = agreed(kind, &setup, arrivals);
    (simulated.preemptions, cached)
}

/// Holds one of the simulator's engines against this one; answers what both made of it and the tokens found in the prefix cache.
fn agreed(kind: EngineKind, setup: &Setup, arrivals: &[Arrival]) -> (Replay, u64) {
    let prefix_caching = kind == EngineKind::Stepping { prefix_cache: true };
    let (emulated, preemptions) = emulated(setup, prefix_caching, arrivals);
    let Setup { limits, block_tokens, step } = *setup;
    let simulated = replay(kind, step, limits, block_tokens, arrivals).expect("what the cache can hold");
    for (id, (ours, theirs)) in simulated.answers.iter().zip(&emulated).enumerate() {
        let apart = (ours.first_token_seconds - theirs.first_token_seconds)
            .abs()
            .max((ours.finish_seconds - theirs.finish_seconds).abs());
        assert!(apart < ROUNDING_SECONDS, "{kind:?}, request {id}: {ours:?} in the simulator, {theirs:?} here");
    }
    assert_eq!(simulated.preemptions, preemptions, "{kind:?}");
    let cached: u64 = emulated.iter().map(|answer| u64::from(answer.cached_tokens)).sum();
    // One that is preempted before its first token is looked up again, and counted again in the simulator.
    if preemptions == 0 {
        assert_eq!(simulated.cached_prompt_tokens, cached, "{kind:?}");
    }
    (simulated, cached)
}

fn arrivals(rows: &[(f64, u32, u32, u64, u32)]) -> Vec<Arrival> {
    let mut now = 0.0;
    let arrive = |&(gap, prompt_tokens, output_tokens, prefix_group, shared_tokens): &(f64, u32, u32, u64, u32)| {
        now += gap;
        Arrival {
            arrival_seconds: now,
            prompt_tokens,
            output_tokens,
            prefix_group,
            shared_tokens: shared_tokens.min(prompt_tokens),
        }
    };
    rows.iter().map(arrive).collect()
}

const LIMITS: Limits = Limits { max_sequences: 16, max_batched_tokens: 256, kv_tokens: 4096, usable_kv_share: 0.85 };

proptest! {
    #[test]
    fn the_simulators_engines_answer_when_this_one_does(
        rows in prop::collection::vec((0.0_f64..0.6, 1_u32..700, 1_u32..300, Just(0_u64), Just(0_u32)), 1..60),
    ) {
        let arrivals = arrivals(&rows);
        for kind in [EngineKind::Leaping, EngineKind::Stepping { prefix_cache: false }] {
            assert_agreement(kind, &LIMITS, &arrivals);
        }
    }

    #[test]
    fn and_preempt_the_same_when_the_cache_is_short(
        rows in prop::collection::vec((0.0_f64..0.1, 1_u32..400, 1_u32..600, Just(0_u64), Just(0_u32)), 20..50),
        kv_tokens in 1100_u64..2500,
    ) {
        let (arrivals, limits) = (arrivals(&rows), Limits { kv_tokens, ..LIMITS });
        let (mut preemptions, _) = (0, 0);
        for kind in [EngineKind::Leaping, EngineKind::Stepping { prefix_cache: false }] {
            (preemptions, _) = assert_agreement(kind, &limits, &arrivals);
        }
        prop_assume!(rows.iter().map(|row| row.2).sum::<u32>() > 6000);
        prop_assert!(preemptions > 0);
    }

    #[test]
    fn and_find_the_same_prefixes(
        rows in prop::collection::vec((0.0_f64..0.6, 1_u32..700, 1_u32..200, 0_u64..4, 0_u32..700), 1..60),
        kv_tokens in 1100_u64..9000,
    ) {
        let limits = Limits { kv_tokens, ..LIMITS };
        assert_agreement(EngineKind::Stepping { prefix_cache: true }, &limits, &arrivals(&rows));
    }
}

#[test]
fn a_conversation_finds_its_turns_in_both() {
    let turns: Vec<_> = (1..=8).map(|turn| (2.0, 100 * turn, 20, 1, 100 * turn)).collect();
    let kind = EngineKind::Stepping { prefix_cache: true };
    let (_, cached) = assert_agreement(kind, &LIMITS, &arrivals(&turns));
    assert!(cached > 2000, "{cached}");
}

/// A stream of the captured load.
#[derive(Debug, serde::Deserialize)]
struct Captured {
    ttft: f64,
    e2e: f64,
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// The value of a series without labels of its own.
fn captured_total(metric: &str) -> u64 {
    let text = include_str!("../../tests/fixtures/metrics-after-load.prom");
    let line = text.lines().find(|line| line.starts_with(&format!("{metric}{{"))).expect("a series");
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as u64
}

/// Twelve streams at once on an engine of four sequences and 39 blocks of 32 tokens: it has to preempt all the time.
#[test]
fn a_real_vllm_took_as_many_steps_preempted_as_often_and_answered_in_the_same_order() {
    let streams: Vec<Captured> =
        serde_json::from_str(include_str!("../../tests/fixtures/load-results.json")).expect("captured streams");
    let limits = Limits { max_sequences: 4, max_batched_tokens: 2048, kv_tokens: 39 * 32, usable_kv_share: 1.0 };
    // One second a step: times are numbers of steps.
    let step = StepTime::from_milliseconds(1000.0, 0.0, 0.0, 0.0);
    // The streams came together: here they meet behind the one step of a first, tiny request.
    let tokens = streams.iter().map(|stream| (stream.prompt_tokens, stream.completion_tokens));
    let rows: Vec<_> =
        std::iter::once((1, 1)).chain(tokens).map(|(prompt, answer)| (0.0, prompt, answer, 0, 0)).collect();
    let setup = Setup { limits, block_tokens: 32, step };
    let (simulated, _) = agreed(EngineKind::Stepping { prefix_cache: true }, &setup, &arrivals(&rows));
    let answers: Vec<(f64, f64)> = simulated.answers[1..]
        .iter()
        .map(|answer| (answer.first_token_seconds - 1.0, answer.finish_seconds - 1.0))
        .collect();

    // What it had served before, one request at a time, took a step a token.
    let tokens: u64 = streams.iter().map(|stream| u64::from(stream.completion_tokens)).sum();
    let steps_before = captured_total("vllm:generation_tokens_total") - tokens;
    let steps = captured_total("vllm:iteration_tokens_total_count") - steps_before;
    let last = answers.iter().map(|(_, finish)| *finish).fold(0.0, f64::max);
    assert_eq!(last.round() as u64, steps, "steps");
    assert_eq!(simulated.preemptions, captured_total("vllm:num_preemptions_total"), "preemptions");

    // Seconds: a step took 22 ms on average, more or less so on a machine that did other things beside it.
    let step_seconds = streams.iter().map(|stream| stream.e2e).fold(0.0, f64::max) / steps as f64;
    let mut apart = Vec::new();
    for ((first, finish), stream) in answers.iter().zip(&streams) {
        apart.push((finish * step_seconds / stream.e2e - 1.0).abs());
        // The first step computed four prompts.
        if *first > 1.5 {
            apart.push((first * step_seconds / stream.ttft - 1.0).abs());
        }
    }
    assert!(apart.iter().all(|apart| *apart < 0.25), "{apart:?}");
    for (one, stream) in answers.iter().zip(&streams) {
        for (other, second) in answers.iter().zip(&streams) {
            if one.0 < other.0 - 0.5 {
                assert!(stream.ttft < second.ttft, "{stream:?} began before {second:?}");
            }
            if one.1 < other.1 - 0.5 {
                assert!(stream.e2e < second.e2e, "{stream:?} ended before {second:?}");
            }
        }
    }
}
