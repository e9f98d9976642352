//! From counters to samples: what one engine did between two looks at it.

use jiff::Timestamp;

use super::traffic::Finished;
use crate::facts::{EngineSample, SumCount};
use crate::startup::seconds_between;

/// Tokens after which a mean time between tokens says something.
const ENOUGH_TOKENS: f64 = 16.0;

/// First tokens after which a mean time to first token says something.
const ENOUGH_FIRST_TOKENS: f64 = 1.0;

/// An interval's weight at most, in control periods: an engine that was out of sight must not outweigh the others.
const HEAVIEST_PERIODS: f64 = 4.0;

/// What an engine says of its requests' tokens and of its cache; a router's view has none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct TokenLoad {
    /// Requests in the running batch: those that hold cache.
    pub(crate) running: f64,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv_cache_usage: Option<f64>,
    /// Tokens that the KV cache holds, as told.
    pub(crate) kv_cache_tokens: Option<f64>,
    /// Tokens of the prompts of ended requests.
    pub(crate) prompt_tokens: Option<SumCount>,
    /// Tokens of the answers of ended requests.
    pub(crate) output_tokens: Option<SumCount>,
}

impl TokenLoad {
    pub(crate) fn of(sample: &EngineSample) -> Self {
        Self {
            running: sample.running.unwrap_or(0.0),
            kv_cache_usage: sample.kv_cache_usage,
            kv_cache_tokens: sample.kv_cache_tokens,
            prompt_tokens: sample.prompt_tokens,
            output_tokens: sample.output_tokens,
        }
    }

    /// What ended since `before`; `None` when nothing did, or the counters started again.
    fn since(&self, before: &Self) -> Option<Finished> {
        let prompts = growth(before.prompt_tokens?, self.prompt_tokens?)?;
        let outputs = growth(before.output_tokens?, self.output_tokens?)?;
        (prompts.count > 0.0 && outputs.count > 0.0).then(|| Finished {
            requests: prompts.count,
            prompt_tokens: prompts.sum,
            // Both are counted at the end of a request; should one histogram lag, its mean still holds.
            output_tokens: outputs.sum / outputs.count * prompts.count,
        })
    }
}

fn growth(before: SumCount, now: SumCount) -> Option<SumCount> {
    let grown = SumCount { sum: now.sum - before.sum, count: now.count - before.count };
    (grown.sum >= 0.0 && grown.count >= 0.0).then_some(grown)
}

/// One interval of one engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LatencySample {
    /// Mean requests in service.
    pub(crate) in_service: f64,
    /// Mean requests whose latency this is: those before their first token, or those between two.
    pub(crate) in_progress: f64,
    /// Mean latency in seconds.
    pub(crate) seconds: f64,
    /// Weight: the interval's length in control periods.
    pub(crate) weight: f64,
    /// Somebody waited at one of its looks.
    pub(crate) waited: bool,
}

/// One look at one engine, from its own metrics or from the router's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EngineLoad {
    /// When it was looked at.
    pub(crate) at: Timestamp,
    /// Requests in service.
    pub(crate) in_service: f64,
    /// Requests that wait in it.
    pub(crate) waiting: f64,
    /// Requests that wait in routers, for any engine.
    pub(crate) queue: f64,
    /// No other engine serves more. Only such a one shows by a router's queue that it is full: an engine that has just
    /// appeared serves little while the queue of before is still being handed out.
    pub(crate) is_busiest: bool,
    pub(crate) ttft: Option<SumCount>,
    pub(crate) inter_token_latency: Option<SumCount>,
    /// Tokens and cache.
    pub(crate) tokens: TokenLoad,
    /// Length of a control period in seconds.
    pub(crate) period_seconds: f64,
}

/// What a look adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) inter_token_latency: Option<LatencySample>,
    pub(crate) ttft: Option<LatencySample>,
    /// The engine is full: requests waited at both looks while it ran no more than before.
    pub(crate) full_at: Option<f64>,
    /// Nobody waited at either look.
    pub(crate) calm: bool,
    /// Requests that ended between the looks.
    pub(crate) finished: Option<Finished>,
}

/// The open intervals of one engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Intervals {
    last: Option<EngineLoad>,
    inter_token_latency: Interval,
    ttft: Interval,
}

/// Sums since the last sample of one latency.
#[derive(Debug, Clone, Default, PartialEq)]
struct Interval {
    base: Option<SumCount>,
    request_seconds: f64,
    seconds: f64,
    waited: bool,
}

impl Intervals {
    pub(crate) fn advance(&mut self, load: &EngineLoad) -> Step {
        let Some(last) = self.last.replace(*load) else {
            self.inter_token_latency.restart(load.inter_token_latency);
            self.ttft.restart(load.ttft);
            return Step::default();
        };
        let elapsed = seconds_between(last.at, load.at);
        if elapsed <= 0.0 {
            return Step::default();
        }
        let mean = f64::midpoint(last.in_service, load.in_service);
        let waits_inside = last.waiting >= 1.0 && load.waiting >= 1.0;
        let waits_outside = last.queue >= 1.0 && load.queue >= 1.0 && last.is_busiest && load.is_busiest;
        let waited = [last.waiting, load.waiting, last.queue, load.queue].iter().any(|count| *count >= 1.0);
        for interval in [&mut self.inter_token_latency, &mut self.ttft] {
            interval.request_seconds += mean * elapsed;
            interval.seconds += elapsed;
            interval.waited |= waited;
        }
        let grows = load.in_service > last.in_service + 0.5;
        let full = (waits_inside || waits_outside) && load.in_service >= 1.0 && !grows;
        Step {
            inter_token_latency: self.inter_token_latency.close(
                load.inter_token_latency,
                ENOUGH_TOKENS,
                load.period_seconds,
            ),
            ttft: self.ttft.close(load.ttft, ENOUGH_FIRST_TOKENS, load.period_seconds),
            full_at: full.then_some(load.in_service),
            calm: !waited,
            finished: load.tokens.since(&last.tokens),
        }
    }
}

impl Interval {
    fn restart(&mut self, base: Option<SumCount>) {
        *self = Self { base, ..Self::default() };
    }

    /// Ends the interval if enough happened in it.
    fn close(&mut self, now: Option<SumCount>, enough: f64, period: f64) -> Option<LatencySample> {
        let (Some(base), Some(end)) = (self.base, now) else {
            self.restart(now);
            return None;
        };
        let Some(SumCount { sum, count }) = growth(base, end) else {
            // The engine's counters started again.
            self.restart(now);
            return None;
        };
        if count < enough {
            return None;
        }
        let (in_service, in_progress) = (self.request_seconds / self.seconds, sum / self.seconds);
        let (weight, waited) = ((self.seconds / period).min(HEAVIEST_PERIODS), self.waited);
        self.restart(now);
        (sum > 0.0).then_some(LatencySample { in_service, in_progress, seconds: sum / count, weight, waited })
    }
}
