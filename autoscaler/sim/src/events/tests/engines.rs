use engine_model::{Limits, StepTime, Workload};
use proptest::prelude::*;

use super::super::engine::{BLOCK_TOKENS, Engine, Finished, Gauges, Job, Progress};
use super::super::leaping::LeapingEngine;
use super::super::replay::{self, replay};
use super::super::settings::{EngineKind, EngineSettings, WarmUp};
use super::super::stepping::SteppingEngine;
use crate::request::Request;

const LIMITS: Limits = Limits { max_sequences: 16, max_batched_tokens: 256, kv_tokens: 4096, usable_kv_share: 0.85 };
const STEP: StepTime = StepTime::from_milliseconds(10.0, 0.05, 1e-3, 0.7);

fn settings(limits: Limits, prefix_cache: bool) -> EngineSettings {
    EngineSettings { step: STEP, limits, block_tokens: BLOCK_TOKENS, warm_up: WarmUp::default(), prefix_cache }
}

fn job(id: u64, arrival_seconds: f64, prompt_tokens: u32, output_tokens: u32) -> Job {
    Job { id, arrival_seconds, prompt_tokens, output_tokens, prefix_group: 0, shared_tokens: 0, retries: 0 }
}

/// All answers in the order of the jobs, and the engine's counters at the end.
fn serve<E: Engine>(settings: &EngineSettings, jobs: &[Job]) -> (Vec<Finished>, Gauges) {
    let (progress, counters) = replay::serve::<E>(settings, jobs);
    assert_eq!(progress.ttft_seconds.len(), jobs.len(), "each job has one first token");
    (progress.finished, counters)
}

fn assert_agreement(settings: &EngineSettings, jobs: &[Job]) -> Gauges {
    let (fast, fast_counters) = serve::<LeapingEngine>(settings, jobs);
    let (plain, plain_counters) = serve::<SteppingEngine>(settings, jobs);
    assert_eq!((fast.len(), plain.len()), (jobs.len(), jobs.len()));
    for (fast, plain) in fast.iter().zip(&plain) {
        assert_eq!(fast.job, plain.job);
        let apart = |one: f64, other: f64| (one - other).abs() / other.max(1.0);
        assert!(apart(fast.first_token_seconds, plain.first_token_seconds) < 1e-9, "{fast:?} {plain:?}");
        assert!(apart(fast.finish_seconds, plain.finish_seconds) < 1e-9, "{fast:?} {plain:?}");
    }
    assert_eq!(fast_counters.preemptions, plain_counters.preemptions);
    assert!((fast_counters.output_tokens - plain_counters.output_tokens).abs() < 0.5);
    // After a preemption the gap lasts from token to token; leaping counts only its steps.
    assert!(
        fast_counters.gaps <= plain_counters.gaps && fast_counters.gaps_seconds <= plain_counters.gaps_seconds + 1e-6
    );
    if fast_counters.preemptions == 0 {
        assert!((fast_counters.gaps - plain_counters.gaps).abs() < 0.5);
        assert!(
            (fast_counters.gaps_seconds - plain_counters.gaps_seconds).abs()
                < 1e-6 * plain_counters.gaps_seconds.max(1.0)
        );
    }
    assert!(fast_counters.kv_share.abs() < 1e-12 && plain_counters.kv_share.abs() < 1e-12, "all blocks are free again");
    fast_counters
}

fn jobs(gaps: &[(f64, u32, u32)]) -> Vec<Job> {
    let mut now = 0.0;
    let arrive = |(id, (gap, prompt, output)): (usize, &(f64, u32, u32))| {
        now += gap;
        job(id as u64, now, *prompt, *output)
    };
    gaps.iter().enumerate().map(arrive).collect()
}

proptest! {
    #[test]
    fn leaping_is_stepping_to_the_rounding(
        gaps in prop::collection::vec((0.0_f64..0.6, 1_u32..700, 1_u32..300), 1..60),
        slowdown in 1.0_f64..3.0,
    ) {
        let warm_up = WarmUp { seconds: 2.0, slowdown };
        assert_agreement(&EngineSettings { warm_up, ..settings(LIMITS, false) }, &jobs(&gaps));
    }

    #[test]
    fn leaping_is_stepping_when_the_cache_is_short_and_sequences_are_preempted(
        gaps in prop::collection::vec((0.0_f64..0.1, 1_u32..400, 1_u32..600), 20..60),
        kv_tokens in 1100_u64..2500,
    ) {
        let counters = assert_agreement(&settings(Limits { kv_tokens, ..LIMITS }, false), &jobs(&gaps));
        prop_assume!(gaps.iter().map(|gap| gap.2).sum::<u32>() > 6000);
        prop_assert!(counters.preemptions > 0);
    }
}

#[test]
fn an_engine_alone_takes_its_prefill_and_then_a_step_a_token() {
    let (answers, _) = serve::<LeapingEngine>(&settings(LIMITS, false), &[job(0, 1.0, 100, 3)]);
    let first = STEP.step_seconds(engine_model::Batch { sequences: 1.0, tokens: 100.0, context_tokens: 100.0 });
    let second = STEP.step_seconds(engine_model::Batch { sequences: 1.0, tokens: 1.0, context_tokens: 101.0 });
    let third = STEP.step_seconds(engine_model::Batch { sequences: 1.0, tokens: 1.0, context_tokens: 102.0 });
    assert!((answers[0].ttft_seconds() - first).abs() < 1e-12);
    assert!((answers[0].inter_token_seconds() - (second + third) / 2.0).abs() < 1e-12);
}

#[test]
fn a_prompt_beyond_the_batch_is_computed_in_chunks_beside_decoding_ones() {
    let (answers, _) = serve::<LeapingEngine>(&settings(LIMITS, false), &[job(0, 0.0, 10, 100), job(1, 0.0, 600, 1)]);
    // One step of the other's, then chunks of 255, 255 and 90 tokens.
    let chunks = [(255.0, 255.0), (255.0, 510.0), (90.0, 600.0)];
    let mut expected = STEP.step_seconds(engine_model::Batch { sequences: 1.0, tokens: 10.0, context_tokens: 10.0 });
    for (index, (tokens, context)) in chunks.into_iter().enumerate() {
        let own = 11.0 + index as f64;
        let batch = engine_model::Batch { sequences: 2.0, tokens: tokens + 1.0, context_tokens: context + own };
        expected += STEP.step_seconds(batch);
    }
    assert!((answers[1].ttft_seconds() - expected).abs() < 1e-12, "{} {expected}", answers[1].ttft_seconds());
}

#[test]
fn at_a_steady_concurrency_tokens_come_as_the_performance_model_says() {
    let limits = Limits { max_sequences: 64, max_batched_tokens: 8192, kv_tokens: 350_000, usable_kv_share: 0.85 };
    let workload = Workload { prompt_tokens: 1000.0, output_tokens: 200.0, cached_share: 0.0 };
    for concurrency in [1_u64, 8, 32, 64] {
        let mut engine = LeapingEngine::new(&settings(limits, false), 0.0);
        let mut progress = Progress::default();
        // Spread over a life first, so that prompts do not come all at once.
        let life = 200.0 * STEP.steady_step_seconds(concurrency as f64, &workload);
        let mut id = 0;
        while id < concurrency {
            let start = id as f64 * life / concurrency as f64;
            while engine.next_event_seconds() <= start {
                engine.advance(&mut progress);
            }
            engine.submit(start, job(id, start, 1000, 200));
            id += 1;
        }
        let (mut ended, mut begin_seconds) = (0, 0.0);
        while ended < 40 * concurrency {
            let now = engine.next_event_seconds();
            engine.advance(&mut progress);
            for _ in progress.finished.drain(..) {
                engine.submit(now, job(id, now, 1000, 200));
                id += 1;
                ended += 1;
                if ended == 10 * concurrency {
                    begin_seconds = now;
                }
            }
        }
        let seconds = engine.next_event_seconds() - begin_seconds;
        let measured = seconds * concurrency as f64 / (30.0 * concurrency as f64 * workload.steps());
        let expected = STEP.steady_step_seconds(concurrency as f64, &workload);
        assert!((measured / expected - 1.0).abs() < 0.02, "{concurrency}: {measured} s for {expected} s");
    }
}

#[test]
fn requests_of_a_group_compute_their_shared_prompt_once() {
    let with_group =
        |id: u64, arrival: f64, group: u64| Job { prefix_group: group, shared_tokens: 160, ..job(id, arrival, 200, 2) };
    let jobs = [with_group(0, 0.0, 7), with_group(1, 1.0, 7), with_group(2, 2.0, 8), with_group(3, 3.0, 0)];
    let (answers, counters) = serve::<SteppingEngine>(&settings(LIMITS, true), &jobs);
    let ttft: Vec<f64> = answers.iter().map(Finished::ttft_seconds).collect();
    // 160 of 200 tokens at 0.05 ms each.
    assert!((ttft[0] - ttft[1] - 8e-3).abs() < 1e-9, "{ttft:?}");
    assert!((ttft[0] - ttft[2]).abs() < 1e-9 && (ttft[0] - ttft[3]).abs() < 1e-9, "{ttft:?}");
    assert_eq!((counters.prompt_tokens, counters.cached_prompt_tokens), (800, 160));
    let (uncached, _) = serve::<SteppingEngine>(&settings(LIMITS, false), &jobs);
    assert!((uncached[1].ttft_seconds() - ttft[0]).abs() < 1e-9);
}

#[test]
fn a_prefix_unused_for_longest_is_given_up_first() {
    let group = |id: u64, group: u64| Job { prefix_group: group, shared_tokens: 1600, ..job(id, id as f64, 1616, 1) };
    // The cache holds 4096 tokens: two prompts of 1616 and half a third. Group 1 is used again before 3 comes.
    let jobs = [group(0, 1), group(1, 2), group(2, 1), group(3, 3), group(4, 1), group(5, 2)];
    let hits = |count: usize| serve::<SteppingEngine>(&settings(LIMITS, true), &jobs[..count]).1.cached_prompt_tokens;
    assert_eq!((hits(3), hits(4), hits(5)), (1600, 1600, 3200));
    assert!(hits(6) < 4800, "group 2 was given up, at least its end");
}

#[test]
fn a_replay_answers_each_request_and_refuses_what_could_never_end() {
    let request = |arrival_seconds, prompt_tokens| Request {
        arrival_seconds,
        prompt_tokens,
        output_tokens: 10,
        prefix_group: 0,
        shared_tokens: 0,
    };
    let play = |requests: &[Request]| replay(EngineKind::Leaping, STEP, LIMITS, 16, requests);
    let played = play(&[request(0.0, 3000), request(0.5, 10)]).unwrap();
    assert!(played.answers.iter().all(|answer| answer.first_token_seconds < answer.finish_seconds));
    assert_eq!((played.answers.len(), played.preemptions, played.cached_prompt_tokens), (2, 0, 0));
    let refusal = |requests: &[Request]| play(requests).unwrap_err().field;
    assert_eq!(refusal(&[request(0.0, 5000)]), "limits.kv_tokens");
    assert_eq!(refusal(&[request(1.0, 10), request(0.5, 10)]), "arrival_seconds");
    assert_eq!(refusal(&[request(f64::NAN, 10)]), "arrival_seconds");
    let leap = replay(EngineKind::Leaping, STEP, LIMITS, 32, &[request(0.0, 10)]).unwrap_err().to_string();
    assert_eq!(leap, "block_tokens = 32: must be 16 in the leaping engine, at least 1 in the stepping one");
}
