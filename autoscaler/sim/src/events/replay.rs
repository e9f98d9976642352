//! One engine alone, to be held against the engine emulator and captures of real engines.

use engine_model::{Limits, StepTime};

use super::engine::{BLOCK_TOKENS, Engine, Gauges, Job, Progress, kv_blocks};
use super::leaping::LeapingEngine;
use super::settings::{EngineKind, EngineSettings, WarmUp, check_engine};
use super::stepping::SteppingEngine;
use crate::request::Request;
use crate::startup::SettingError;

/// When a request was answered, in seconds since the start of the trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// First token.
    pub first_token_seconds: f64,
    /// Last token.
    pub finish_seconds: f64,
}

/// What an engine made of a list of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// One for each request, in their order.
    pub answers: Vec<Answer>,
    /// Sequences that lost their KV blocks and were computed again.
    pub preemptions: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_prompt_tokens: u64,
}

/// Sends `requests`, in order of arrival, straight to one engine whose KV blocks have `block_tokens` each (vLLM's default
/// is 16).
///
/// # Errors
/// A step time or limit out of its range, blocks of another size than 16 in the leaping engine, arrivals out of order, or a
/// request that the KV cache can not hold.
pub fn replay(
    kind: EngineKind,
    step: StepTime,
    limits: Limits,
    block_tokens: u32,
    requests: &[Request],
) -> Result<Replay, SettingError> {
    check_engine(&step, &limits)?;
    let (least, most) = if kind == EngineKind::Leaping { (BLOCK_TOKENS, BLOCK_TOKENS) } else { (1, u32::MAX) };
    SettingError::check(
        (least..=most).contains(&block_tokens),
        "block_tokens",
        f64::from(block_tokens),
        "16 in the leaping engine, at least 1 in the stepping one",
    )?;
    let prefix_cache = matches!(kind, EngineKind::Stepping { prefix_cache: true });
    let settings = EngineSettings { step, limits, block_tokens, warm_up: WarmUp::default(), prefix_cache };
    let jobs: Vec<Job> =
        requests.iter().zip(0..).map(|(request, id)| Job::new(id, request.arrival_seconds, request)).collect();
    let mut before = 0.0;
    for job in &jobs {
        let now = job.arrival_seconds;
        let ok = now.is_finite() && now >= before;
        SettingError::check(ok, "arrival_seconds", now, "at least 0 and that of the request before")?;
        before = now;
    }
    for job in &jobs {
        let (needed, held) = (job.most_blocks(block_tokens), kv_blocks(&settings));
        SettingError::check(needed <= held, "limits.kv_tokens", limits.kv_tokens as f64, "enough for each request")?;
    }
    let (progress, counters) = match kind {
        EngineKind::Leaping => serve::<LeapingEngine>(&settings, &jobs),
        EngineKind::Stepping { .. } => serve::<SteppingEngine>(&settings, &jobs),
    };
    let answers = progress.finished.iter().map(|answer| Answer {
        first_token_seconds: answer.first_token_seconds,
        finish_seconds: answer.finish_seconds,
    });
    Ok(Replay {
        answers: answers.collect(),
        preemptions: counters.preemptions,
        cached_prompt_tokens: counters.cached_prompt_tokens,
    })
}

/// What an engine reported, answers in the order of the jobs' ids, and its counters at the end.
pub(super) fn serve<E: Engine>(settings: &EngineSettings, jobs: &[Job]) -> (Progress, Gauges) {
    let mut engine = E::new(settings, 0.0);
    let mut progress = Progress::default();
    for job in jobs {
        while engine.next_event_seconds() <= job.arrival_seconds {
            engine.advance(&mut progress);
        }
        engine.submit(job.arrival_seconds, *job);
    }
    while engine.next_event_seconds().is_finite() {
        engine.advance(&mut progress);
    }
    progress.finished.sort_by_key(|answer| answer.job.id);
    (progress, engine.gauges(f64::MAX))
}
