//! What a replica carries: the most requests at once that keep the objective, learned from the engines' own metrics.
//!
//! ```text
//! sums and counts ─▶ intervals  what one engine did between two looks
//!                 ─▶ evidence   step times by level of load  ─▶ T(n) of the engine model, held by a prior
//!                 ─▶ traffic    mean tokens of a request, size of the KV cache, time to first token against the model's
//! objective, T(n), cache ─▶ capacity
//! ```
//!
//! Only sums and counts are read, because the buckets of a time-scaled or re-bucketed engine say nothing. An engine that
//! keeps requests waiting shows its limit directly: the batch it runs meanwhile. The smallest of all bounds is the capacity.

mod evidence;
mod half;
mod intervals;
mod traffic;

use engine_model::{Fit, Limits, Preset, Prior, StepTime, Workload, ttft_seconds};
use serde::{Deserialize, Serialize};

use crate::facts::Objective;
use crate::tiers::Tier;
use evidence::{ENOUGH, Evidence};
pub(crate) use intervals::{EngineLoad, Intervals, TokenLoad};
use traffic::{CacheUse, FirstToken, Traffic};

/// Extrapolation bound: capacity is never believed beyond this multiple of what was seen to keep the objective.
const BEYOND_PROVEN: f64 = 2.0;

/// The same for a shipped profile, beyond the capacity that it promises.
const BEYOND_PROFILE: f64 = 1.5;

/// Weight of one more sighting of an engine that is full.
const FULL_WEIGHT: f64 = 0.3;

/// A KV cache in use by this share admits no more: vLLM keeps the rest for running requests to grow into.
const FULL_CACHE: f64 = 0.8;

/// Half of the confidence in a full engine comes from this many sightings of it.
const HALF_SURE_SIGHTINGS: f64 = 4.0;

/// Memories (some twenty start-up times) over which step times and the mean request fade: an engine keeps its speed for
/// days, traffic changes within the hour.
const STEP_MEMORIES: f64 = 20.0;
const TRAFFIC_MEMORIES: f64 = 0.25;

/// From this confidence on the model is believed whole, below in proportion.
const CONFIDENT: f64 = 0.8;

/// An objective is out of reach when one request misses it by this many standard errors.
const SURE_ERRORS: f64 = 2.0;

/// What any engine may be like: the shape of a middling dense model (Qwen3-32B on two H100, see the shipped profiles), at
/// any speed.
const ANY_ENGINE: Prior =
    Prior { step: StepTime::from_milliseconds(13.83, 0.0489, 6.3e-5, 0.0), scale_deviation: 2.0, shape_deviation: 0.7 };

/// How far an engine is from the shipped profile of its model and GPUs: other versions, flags, prompts.
const PROFILE_SCALE_DEVIATION: f64 = 0.25;
const PROFILE_SHAPE_DEVIATION: f64 = 0.3;

/// Limits of an engine that no profile describes: vLLM's own defaults on large GPUs, and a cache that is not the limit until
/// it is seen. Lower limits show when requests wait.
const ANY_LIMITS: Limits =
    Limits { max_sequences: 1024, max_batched_tokens: 8192, kv_tokens: u64::MAX, usable_kv_share: 0.85 };

/// Learned capacity of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Requests at once that a replica carries within the objective.
    pub requests: f64,
    /// What set the number.
    pub source: CapacitySource,
    /// Time to first token expected at that load without a queue, in seconds; 0 until learned.
    pub ttft_seconds: f64,
    /// Whether even one request at a time misses the objective.
    pub objective_out_of_reach: bool,
    /// Seconds that a request is in service at that load, unqueued: its prefill and its answer; `None` until learned.
    pub service_seconds: Option<f64>,
    /// The same at the present load of an engine.
    pub present_service_seconds: Option<f64>,
    /// How much the number rests on what was seen and not on a prior, 0 to 1.
    pub confidence: f64,
    /// Mean prompt in tokens; `None` until enough requests ended.
    pub prompt_tokens: Option<f64>,
    /// Mean answer in tokens; `None` until enough requests ended.
    pub output_tokens: Option<f64>,
}

/// What sets the capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CapacitySource {
    /// Nothing learned yet.
    Prior,
    /// Nothing learned yet; the shipped profile of the model and its GPUs.
    Profile,
    /// Twice the load that was seen to keep the objective: more is not believed before it is seen.
    Proven,
    /// The time between tokens reaches its objective.
    InterTokenLatency,
    /// The time to first token reaches its objective.
    TimeToFirstToken,
    /// The KV cache is full.
    KvCache,
    /// The engine takes no more sequences.
    Sequences,
    /// Engines were seen full: requests waited while this many ran.
    Saturation,
}

impl CapacitySource {
    /// In words, to follow "set by".
    #[must_use]
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Prior => "the prior, until learned",
            Self::Profile => "the shipped profile, until learned",
            Self::Proven => "twice the load seen to keep the objective",
            Self::InterTokenLatency => "the time between tokens",
            Self::TimeToFirstToken => "the time to first token",
            Self::KvCache => "the KV cache",
            Self::Sequences => "the engine's limit of sequences",
            Self::Saturation => "engines seen full",
        }
    }
}

/// What is believed of capacity before anything was learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CapacityPrior<'a> {
    /// Requests at once, where there is no profile.
    pub(crate) requests: f64,
    /// The shipped profile of the model and its GPUs.
    pub(crate) profile: Option<&'a Preset>,
}

impl CapacityPrior<'_> {
    fn step(&self) -> Prior {
        self.profile.map_or(ANY_ENGINE, |profile| Prior {
            step: profile.step,
            scale_deviation: PROFILE_SCALE_DEVIATION,
            shape_deviation: PROFILE_SHAPE_DEVIATION,
        })
    }
}

/// What is remembered of capacity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapacityState {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    evidence: Evidence,
    traffic: Traffic,
    cache: CacheUse,
    first_token: FirstToken,
    full: Option<Full>,
    /// Most requests at once seen to keep the objective.
    proven: f64,
    /// The last fit: what the next samples are judged by.
    step: Option<StepTime>,
}

/// Requests an engine ran while others waited in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Full {
    requests: f64,
    sightings: f64,
}

impl CapacityState {
    /// What was learned of engines of another tier is of no use.
    pub(crate) fn serve(&mut self, tier: Option<Tier>) {
        if self.tier != tier {
            *self = Self { tier, ..Self::default() };
        }
    }

    /// Lets old samples fade.
    pub(crate) fn fade(&mut self, elapsed_seconds: f64, memory_seconds: f64) {
        let keep = |memories: f64| (-elapsed_seconds / (memories * memory_seconds)).exp();
        self.evidence.fade(keep(STEP_MEMORIES));
        self.first_token.fade(keep(STEP_MEMORIES));
        self.traffic.fade(keep(TRAFFIC_MEMORIES));
    }

    /// Learns from one look at one warm engine.
    pub(crate) fn learn(&mut self, intervals: &mut Intervals, load: &EngineLoad, objective: &Objective) {
        let objective = half::objective(self.tier, objective);
        let step = intervals.advance(load);
        if let Some(finished) = &step.finished {
            self.traffic.add(finished);
        }
        let workload = half::workload(self.tier, self.traffic.mean_or_nominal());
        if let Some(tokens) = load.tokens.kv_cache_tokens {
            self.cache.tell(tokens);
        }
        if let Some(usage) = load.tokens.kv_cache_usage.filter(|_| half::shows_its_limits(self.tier)) {
            self.cache.add(load.tokens.running, &workload, usage);
        }
        let (steps, first_tokens) = half::samples(self.tier, &step, &objective);
        if let Some(sample) = steps {
            self.evidence.add(sample.in_service, &workload, sample.seconds, sample.weight, self.step.as_ref());
            if sample.seconds <= objective.inter_token_latency_seconds {
                self.proven = self.proven.max(sample.in_service);
            }
        }
        if let (Some(sample), Some(fitted)) = (first_tokens, &self.step) {
            let modelled = ttft_seconds(fitted, sample.in_service.max(1.0), &workload, &ANY_LIMITS);
            self.first_token.add(modelled, sample.seconds, sample.weight);
        }
        // A cache that is full is told of by its size, and what fits into it changes with the requests.
        let is_cache_full = load.tokens.kv_cache_usage.is_some_and(|usage| usage >= FULL_CACHE);
        if let Some(running) = step.full_at.filter(|_| !is_cache_full && half::shows_its_limits(self.tier)) {
            let full = self.full.get_or_insert(Full { requests: running, sightings: 0.0 });
            full.requests += FULL_WEIGHT * (running - full.requests);
            full.sightings += 1.0;
        }
        // More was carried without anybody waiting: the limit seen earlier has risen (longer prompts have gone).
        if step.calm
            && let Some(full) = &mut self.full
            && load.in_service > full.requests
        {
            full.requests = load.in_service;
        }
    }

    /// The capacity at an objective; `present` is the number of requests that an engine has in service now.
    pub(crate) fn at(&mut self, objective: &Objective, prior: &CapacityPrior<'_>, present: f64) -> Capacity {
        let objective = &half::objective(self.tier, objective);
        let beliefs = prior.step();
        // Every prior is valid, and every sample was checked before it was taken in: there is always a fit.
        let fit = self.evidence.fit(&beliefs).ok();
        self.step = fit.map(|fit| fit.step);
        let workload = half::workload(self.tier, self.traffic.mean_or_nominal());
        let limits = prior.profile.map_or(ANY_LIMITS, |profile| profile.limits);
        let model = Model {
            step: fit.map_or(beliefs.step, |fit| fit.step),
            first_token: &self.first_token,
            workload,
            limits,
            kv_tokens: self.cache.tokens().or_else(|| prior.profile.map(|profile| profile.limits.kv_tokens as f64)),
        };
        let reach = model.reach(objective, self.first_token.is_known() || prior.profile.is_some());
        let confidence = match fit {
            Some(fit) if self.evidence.weight() >= ENOUGH => {
                let at = reach.latency.unwrap_or(1.0).max(1.0);
                1.0 - (fit.relative_error(at, &workload) / beliefs.relative_error(at, &workload)).min(1.0)
            }
            Some(_) | None => 0.0,
        };
        let out_of_reach = fit.filter(|_| confidence > 0.0).is_some_and(|fit| model.misses_alone(objective, &fit));
        let mut best = Self::ceiling(objective, prior, &workload);
        let expected = best.requests;
        if BEYOND_PROVEN * self.proven > best.requests {
            best = Bound { requests: BEYOND_PROVEN * self.proven, source: CapacitySource::Proven, confidence };
        }
        let trust = if prior.profile.is_some() { 1.0 } else { (confidence / CONFIDENT).min(1.0) };
        if let Some(latency) = reach.latency.filter(|_| !out_of_reach) {
            // Between a prior and a model that is not sure yet, in proportion.
            let requests = (expected.ln() * (1.0 - trust) + latency.max(1.0).ln() * trust).exp();
            let is_learned = trust >= 0.5 && confidence > 0.0;
            let source = match self.tier {
                Some(Tier::Prefill) => CapacitySource::TimeToFirstToken,
                Some(Tier::Decode) | None => reach.latency_source,
            };
            best.lower(requests, if is_learned { source } else { best.source }, confidence);
        }
        best.lower(reach.kv_cache, CapacitySource::KvCache, 1.0);
        best.lower(f64::from(limits.max_sequences), CapacitySource::Sequences, best.confidence);
        if let Some(full) = &self.full {
            let sure = full.sightings / (full.sightings + HALF_SURE_SIGHTINGS);
            best.lower(full.requests, CapacitySource::Saturation, sure);
        }
        let requests = best.requests.max(1.0);
        let is_told = confidence > 0.0 || prior.profile.is_some();
        let known = self.traffic.mean();
        Capacity {
            requests,
            source: best.source,
            ttft_seconds: if is_told { model.ttft_seconds(requests) } else { 0.0 },
            objective_out_of_reach: out_of_reach,
            service_seconds: known.filter(|_| is_told).map(|_| model.service_seconds(requests)),
            present_service_seconds: known.filter(|_| is_told).map(|_| model.service_seconds(present.max(1.0))),
            confidence: best.confidence,
            prompt_tokens: known.map(|workload| workload.prompt_tokens),
            output_tokens: known.map(|workload| workload.output_tokens),
        }
    }

    /// What is believed at most of an engine that has not shown more.
    fn ceiling(objective: &Objective, prior: &CapacityPrior<'_>, workload: &Workload) -> Bound {
        let Some(profile) = prior.profile else {
            return Bound { requests: prior.requests.max(1.0), source: CapacitySource::Prior, confidence: 0.0 };
        };
        let objective = engine_model::Objective {
            ttft_seconds: objective.ttft_seconds,
            inter_token_seconds: objective.inter_token_latency_seconds,
        };
        let promised = engine_model::capacity(&profile.step, workload, &profile.limits, &objective).concurrency;
        let requests = BEYOND_PROFILE * f64::from(promised.max(1));
        Bound { requests, source: CapacitySource::Profile, confidence: 0.0 }
    }
}

/// The smallest bound so far.
struct Bound {
    requests: f64,
    source: CapacitySource,
    confidence: f64,
}

impl Bound {
    fn lower(&mut self, requests: f64, source: CapacitySource, confidence: f64) {
        if requests <= self.requests {
            *self = Self { requests, source, confidence };
        }
    }
}

/// The engine as it is believed to be.
struct Model<'a> {
    step: StepTime,
    first_token: &'a FirstToken,
    workload: Workload,
    limits: Limits,
    kv_tokens: Option<f64>,
}

/// How far each bound lets the load grow.
struct Reach {
    /// Where a latency meets its objective; `None` when one request alone misses it.
    latency: Option<f64>,
    latency_source: CapacitySource,
    kv_cache: f64,
}

impl Model<'_> {
    fn inter_token_seconds(&self, requests: f64) -> f64 {
        self.step.steady_step_seconds(requests, &self.workload)
    }

    /// The step is the whole prompt.
    fn is_prefill(&self) -> bool {
        self.workload.output_tokens <= 0.0
    }

    fn ttft_seconds(&self, requests: f64) -> f64 {
        if self.is_prefill() {
            return self.inter_token_seconds(requests);
        }
        self.first_token.expected(ttft_seconds(&self.step, requests, &self.workload, &self.limits))
    }

    /// Unqueued: the prompt, then one step for each token.
    fn service_seconds(&self, requests: f64) -> f64 {
        if self.is_prefill() {
            return self.inter_token_seconds(requests);
        }
        let others = (requests - 1.0).max(0.0);
        let chunk = f64::from(self.limits.max_batched_tokens) - others;
        let prompt = self.workload.uncached_prompt_tokens();
        self.step.prefill_seconds(prompt, chunk, others, &self.workload)
            + self.workload.output_tokens * self.inter_token_seconds(requests)
    }

    fn reach(&self, objective: &Objective, knows_ttft: bool) -> Reach {
        let between = largest(|n| self.inter_token_seconds(n) <= objective.inter_token_latency_seconds);
        let first =
            if knows_ttft { largest(|n| self.ttft_seconds(n) <= objective.ttft_seconds) } else { Some(f64::INFINITY) };
        let (latency, latency_source) = match (between, first) {
            (Some(between), Some(first)) if first < between => (Some(first), CapacitySource::TimeToFirstToken),
            (Some(between), _) => (Some(between), CapacitySource::InterTokenLatency),
            (None, Some(first)) => (Some(first).filter(|first| first.is_finite()), CapacitySource::TimeToFirstToken),
            (None, None) => (None, CapacitySource::InterTokenLatency),
        };
        let kv_cache = self
            .kv_tokens
            .map_or(f64::INFINITY, |tokens| tokens * self.limits.usable_kv_share / self.workload.mean_context_tokens());
        Reach { latency, latency_source, kv_cache }
    }

    /// Whether one request at a time misses the objective, beyond doubt.
    fn misses_alone(&self, objective: &Objective, fit: &Fit) -> bool {
        let least = 1.0 - SURE_ERRORS * fit.relative_error(1.0, &self.workload);
        self.inter_token_seconds(1.0) * least > objective.inter_token_latency_seconds
            || (self.first_token.is_known() && self.ttft_seconds(1.0) * least > objective.ttft_seconds)
    }
}

/// More requests at once than any engine serves.
const MOST_REQUESTS: f64 = 65_536.0;

/// The largest load of at least 1 that `holds`, for a condition that fails from some load on; `None` when it fails at 1.
fn largest(holds: impl Fn(f64) -> bool) -> Option<f64> {
    if !holds(1.0) {
        return None;
    }
    let (mut low, mut high) = (1.0_f64, MOST_REQUESTS);
    while high / low > 1.0005 {
        let middle = (low * high).sqrt();
        if holds(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

#[cfg(test)]
mod tests;
