//! What is known at the moment of a decision. Absent, stale and zero are three different values.

use std::collections::BTreeMap;

use autoscaler_forecast::Rhythm;
use engine_model::{Limits, Preset, StepTime, preset};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rate::RateLimits;
use crate::schedule::ScheduledFloor;
use crate::standby::Standby;
use crate::tiers::Tier;

/// Requests at once that a replica is believed to carry before anything was learned.
///
/// A middle-sized model on one GPU meets 50 ms between tokens at several times this number, and vLLM itself stops at 256
/// by default; starting low orders one replica too many for some minutes, starting high queues. The first engine that
/// keeps requests waiting, or whose latency passes the objective, replaces it.
pub const DEFAULT_CAPACITY_PRIOR: f64 = 32.0;

/// One immutable snapshot of a model's fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What the operator asked for.
    pub settings: Settings,
    /// Replicas the target is told to have now (`spec.replicas`).
    pub replicas: u32,
    /// Every engine of the target that exists, in any phase.
    pub engines: Vec<EngineFacts>,
    /// What the routers say about this model.
    pub router: RouterFacts,
    /// What sleeps and may sleep; `None` where no engine ever does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
}

/// The operator's settings, already validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Latency objective.
    pub objective: Objective,
    /// A lower number of replicas is taken only when nothing higher was wanted for this long.
    pub stabilization_seconds: f64,
    /// Most replicas ordered and released in a minute; minimum, maximum and schedules come before them.
    #[serde(default, skip_serializing_if = "RateLimits::is_none")]
    pub rate_limits: RateLimits,
    /// Start-up time to plan with instead of the learned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_seconds: Option<f64>,
    /// Time from one decision to the next.
    pub control_period_seconds: f64,
    /// Requests at once per replica, believed until learned.
    pub capacity_prior: f64,
    /// The shipped profile of the model and its GPUs, believed instead until learned.
    #[serde(with = "profile", default, skip_serializing_if = "Option::is_none")]
    pub engine_profile: Option<Preset>,
    /// Time scales of forecast and plan.
    pub rhythm: Rhythm,
    /// Floors that schedules ask for now or next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<ScheduledFloor>,
    /// What a late request does to those behind it in the router's queue.
    pub queue: Queue,
    /// Which half of each request these engines serve; `None` where they serve both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Decide, but keep the replicas.
    pub paused: bool,
}

/// The order of the router's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Queue {
    /// Requests that can no longer make their objective yield to those that can: only what exceeds the replicas is missed.
    #[default]
    Deadline,
    /// First come, first served: all miss while the queue is longer than the objective of time to first token.
    Fifo,
}

/// Latency objective in seconds of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// Time to first token.
    pub ttft_seconds: f64,
    /// Mean time between tokens.
    pub inter_token_latency_seconds: f64,
    /// Share of requests that meet both, in (0, 1).
    pub attainment: f64,
}

/// A shipped profile in a log: its name, and the numbers that the decision rests on.
mod profile {
    use super::{Deserialize, Deserializer, Limits, Preset, Serialize, Serializer, StepTime, preset};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Recorded {
        name: String,
        step: StepTime,
        limits: Limits,
    }

    pub(super) fn serialize<S: Serializer>(preset: &Option<Preset>, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = preset.map(|Preset { name, step, limits, .. }| Recorded { name: name.to_owned(), step, limits });
        recorded.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Preset>, D::Error> {
        let recorded = Option::<Recorded>::deserialize(deserializer)?;
        Ok(recorded.map(|Recorded { name, step, limits }| {
            // The numbers are those of the log; a profile that is not shipped (any more) has no other name.
            let known = preset(&name).map(|preset| (preset.name, preset.description));
            let (name, description) = known.unwrap_or(("recorded", "from a decision log"));
            Preset { name, description, step, limits }
        }))
    }
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineFacts {
    /// Identity (`namespace/pod` in a cluster), the name the router uses too.
    pub id: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// How far its start had come when.
    pub milestones: Milestones,
    /// What its own metrics say.
    pub observation: Observation,
}

/// Moments of an engine's start, where they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Milestones {
    /// A machine was found for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Timestamp>,
    /// Its containers first started: the image was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_started: Option<Timestamp>,
    /// It was woken then, and not started: what it took to be Ready is a wake, not a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<Timestamp>,
}

/// An engine's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Phase {
    /// Exists, takes no requests yet.
    Starting {
        /// When it was created.
        since: Timestamp,
    },
    /// Takes requests.
    Ready {
        /// When it was created.
        created: Timestamp,
        /// When it became Ready.
        since: Timestamp,
    },
    /// Ends its streams and takes no new ones.
    Draining,
}

/// What is known of an engine's metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Observation {
    /// Never scraped successfully.
    Absent {
        /// Why, in words.
        reason: String,
    },
    /// The last good scrape is too old to plan on.
    Stale {
        /// Age of the last good scrape.
        age_seconds: f64,
        /// Why newer ones failed, in words.
        reason: String,
    },
    /// Scraped lately.
    Seen(EngineSample),
}

/// One scrape of one engine, summed over its served names. A field is `None` when the engine does not export it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineSample {
    /// When it was scraped.
    pub at: Timestamp,
    /// Whether vLLM's metrics were there at all.
    pub has_vllm_metrics: bool,
    /// Requests in the running batch, and those with a place in it whose KV cache is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<f64>,
    /// Requests that wait inside the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    /// Share of KV-cache blocks in use, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_usage: Option<f64>,
    /// Finished requests since the engine started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_total: Option<f64>,
    /// Time to first token, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<SumCount>,
    /// Time between tokens, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_token_latency: Option<SumCount>,
    /// Tokens of the prompts of ended requests: per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<SumCount>,
    /// Tokens of the answers of ended requests: per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<SumCount>,
    /// Tokens that the KV cache holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_tokens: Option<f64>,
}

impl EngineSample {
    /// A scrape that answered but held none of vLLM's metrics.
    #[must_use]
    pub fn without_vllm_metrics(at: Timestamp) -> Self {
        Self {
            at,
            has_vllm_metrics: false,
            running: None,
            waiting: None,
            kv_cache_usage: None,
            finished_total: None,
            ttft: None,
            inter_token_latency: None,
            prompt_tokens: None,
            output_tokens: None,
            kv_cache_tokens: None,
        }
    }
}

/// Sum and count of a histogram since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SumCount {
    /// Sum of the observed values.
    pub sum: f64,
    /// Number of the observed values.
    pub count: f64,
}

impl std::ops::Add for SumCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, count: self.count + other.count }
    }
}

/// What is known of the routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouterFacts {
    /// This model has no router, or none is configured.
    NotConfigured,
    /// One entry per router replica.
    Replicas(Vec<RouterReplica>),
}

/// One router replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterReplica {
    /// Identity (`namespace/pod` in a cluster).
    pub id: String,
    /// What it said.
    pub observation: RouterObservation,
}

/// What one router replica said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RouterObservation {
    /// It did not answer lately.
    Unreachable {
        /// Why, in words.
        reason: String,
    },
    /// It answered.
    Seen(RouterSample),
}

/// One scrape of one router replica, for this model. A queue shared by several targets is split before it gets here;
/// arrivals are split by [`RouterSample::arrivals_share`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterSample {
    /// When it was scraped.
    pub at: Timestamp,
    /// Requests that wait for any engine.
    pub queue_depth: f64,
    /// Requests admitted since the router started, for all targets that serve the name.
    pub received_total: f64,
    /// Those of them that missed the objective of time to first token, or got no answer for lack of engines; `None` from a
    /// router that was told no objective.
    pub late_total: Option<f64>,
    /// Those of them that were in time, and whose events then came more slowly in the mean than the objective between tokens;
    /// `None` from a router that was told none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_total: Option<f64>,
    /// Those of them that no engine answered: turned away, given up, or left by their clients before an answer began.
    #[serde(default)]
    pub unanswered_total: f64,
    /// Share of those arrivals that is this target's, 0 to 1. A counter cannot be split: it would jump with the share.
    pub arrivals_share: f64,
    /// What it sees of each engine, by engine id.
    pub engines: BTreeMap<String, RouterEngineView>,
}

/// What one router replica sees of one engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterEngineView {
    /// Requests sent to the engine and not ended.
    pub in_flight: f64,
    /// Time from admission to first token, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<SumCount>,
    /// Time between tokens, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_token_latency: Option<SumCount>,
}
