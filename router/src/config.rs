//! The router's settings: file, flags and environment, put in order and checked once.
//!
//! [`FileConfig`] is the YAML file as written; [`Settings`] is what applies. Of these, [`Tunables`] can change while the
//! router runs, by editing the file; the rest names sockets and sources and needs a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use engines::handover::ServedObjective;
use process::args::{ProcessConfig, ProcessSettings};
use process::config::Duration as HumanDuration;
use router_core::Discipline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::max_in_flight::{MaxInFlight, MaxInFlightError};
use crate::engine_url::{EngineUrl, EngineUrlError};

mod max_in_flight;

/// Port of the data address unless it is configured.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8000);
/// Default cap on request bodies: a few images in base64 fit, a file sent by mistake does not.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;
/// Default order of the queue: the same as `fifo` for models without an objective.
pub const DEFAULT_QUEUE_DISCIPLINE: QueueDiscipline = QueueDiscipline::Deadline;
/// Default time a request waits for an engine: what people wait for a first answer, and long enough for a fast cold start.
pub const DEFAULT_QUEUE_DEADLINE: Duration = Duration::from_secs(30);
/// Default number of requests that wait per model: 30 s of about 130 a second.
pub const DEFAULT_QUEUE_REQUESTS: usize = 4096;
/// Default memory for bodies that wait, over all models: 4096 prompts of 64 KiB.
pub const DEFAULT_QUEUE_BYTES: u64 = 256 * 1024 * 1024;
/// Default number of engines a request is sent to: the first and two more.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Default time to connect to an engine: two SYN retransmissions inside a cluster would exceed it, and mean it is gone.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Default time from request to the head of an answer: longer than any sane generation, shorter than forever.
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The configuration file, camelCase YAML. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[schemars(title = "router configuration")]
pub struct FileConfig {
    /// Address of the data port, default `0.0.0.0:8000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Threads that carry requests, default one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroUsize>,
    /// Where the engines come from: exactly one of the three.
    pub engines: EnginesConfig,
    /// Largest request body in bytes, default 64 MiB; larger ones are answered 413. Reloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Most requests that this router sends to one engine at a time, the others wait here: a number, or `auto` for as many
    /// as the engine runs at once, learned from its `/metrics` each second. Default none: vLLM queues itself, first come
    /// first served. Reloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight_per_engine: Option<MaxInFlight>,
    /// Requests that wait for an engine. Reloaded.
    pub queue: QueueConfig,
    /// Attempts on other engines before the first byte of an answer. Reloaded.
    pub retry: RetryConfig,
    /// Limits on connections to engines. Reloaded.
    pub upstream: UpstreamConfig,
    /// Models by served name. Requests for a model named here are held while it has no engine. Reloaded.
    pub models: BTreeMap<String, ModelConfig>,
    /// Admin address and logs.
    pub process: ProcessConfig,
}

/// Where the engines come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EnginesConfig {
    /// Base URLs of engines, such as `http://10.0.0.7:8000`.
    #[serde(rename = "static", skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<String>,
    /// A file that another program renames into place whenever the list changes (see router/README.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Pods of a Kubernetes cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesConfig>,
}

/// Which pods are engines: label `app.kubernetes.io/component: serving-engine`, Ready and not terminating.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct KubernetesConfig {
    /// Namespace of the pods; default the one this router runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Value of their label `app.kubernetes.io/instance`; default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// The queue of each model: used when no engine of it can take a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct QueueConfig {
    /// Who is next, default `deadline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discipline: Option<QueueDiscipline>,
    /// Longest wait, default `30s`; then 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<HumanDuration>,
    /// Most requests waiting per model, default 4096; more are answered 503 at once. 0 switches waiting off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<usize>,
    /// Most bytes of bodies waiting, all models together, default 256 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// Which of the waiting requests gets the next place in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum QueueDiscipline {
    /// The oldest that can still meet the model's objective; if there is none, the oldest.
    Deadline,
    /// The oldest.
    Fifo,
}

impl From<QueueDiscipline> for Discipline {
    fn from(configured: QueueDiscipline) -> Self {
        match configured {
            QueueDiscipline::Deadline => Self::Deadline,
            QueueDiscipline::Fifo => Self::Fifo,
        }
    }
}

/// Attempts before the first byte of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RetryConfig {
    /// Engines a request is sent to before its failure is told, default 3; 1 switches retries off. An engine that says it
    /// is full or shutting down does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
}

/// Limits on connections to engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpstreamConfig {
    /// Longest time to connect, default `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<HumanDuration>,
    /// Longest time from the request to the head of the answer, default `30m`. Streams may take longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_timeout: Option<HumanDuration>,
}

/// One model by its served name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ModelConfig {
    /// What its users were promised; exported as `router_objective_time_to_first_token_seconds` and
    /// `router_objective_inter_token_latency_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveConfig>,
}

/// What a model's users were promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObjectiveConfig {
    /// Time to the first token.
    pub ttft: HumanDuration,
    /// Mean time between two tokens of one streamed answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inter_token_latency: Option<HumanDuration>,
}

impl ObjectiveConfig {
    fn checked(&self) -> Result<ServedObjective, SettingsError> {
        if self.ttft.0.is_zero() {
            return Err(SettingsError::Zero("models.*.objective.ttft"));
        }
        if self.inter_token_latency.is_some_and(|time| time.0.is_zero()) {
            return Err(SettingsError::Zero("models.*.objective.interTokenLatency"));
        }
        Ok(ServedObjective {
            ttft_seconds: self.ttft.as_secs_f64(),
            inter_token_latency_seconds: self.inter_token_latency.map(|time| time.as_secs_f64()),
        })
    }
}

/// Where the engines come from, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A fixed list.
    Fixed(Vec<EngineUrl>),
    /// A file that is watched.
    File(PathBuf),
    /// Pods of a cluster.
    Kubernetes(KubernetesConfig),
}

/// What can change while the router runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunables {
    /// Largest request body.
    pub max_body_bytes: u64,
    /// Most requests of this router per engine.
    pub max_in_flight_per_engine: Option<MaxInFlight>,
    /// Who is next in the queue.
    pub queue_discipline: Discipline,
    /// Longest wait for an engine.
    pub queue_deadline: Duration,
    /// Most requests waiting per model.
    pub queue_max_requests: usize,
    /// Most bytes of bodies waiting.
    pub queue_max_bytes: u64,
    /// Engines a request is sent to before its failure is told.
    pub max_attempts: u32,
    /// Longest time to connect to an engine.
    pub connect_timeout: Duration,
    /// Longest time to the head of an answer.
    pub answer_timeout: Duration,
    /// Declared models with what was promised to their users.
    pub models: BTreeMap<String, Option<ServedObjective>>,
}

/// Everything that applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address of the data port.
    pub listen: SocketAddr,
    /// Threads that carry requests.
    pub workers: NonZeroUsize,
    /// Where the engines come from.
    pub source: Source,
    /// What can change while the router runs.
    pub tunables: Tunables,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No source of engines.
    #[error(
        "no engines: give --engine URL (may be repeated), --engines-file FILE or --kubernetes, or one of `engines.static`, `engines.file`, `engines.kubernetes` in the configuration file"
    )]
    NoSource,
    /// More than one source.
    #[error("engines come from {0} and {1} at once: keep one of them")]
    SeveralSources(&'static str, &'static str),
    /// A URL in the list.
    #[error("`engines.static`: {0}")]
    Engine(#[from] EngineUrlError),
    /// The same engine twice.
    #[error("`engines.static`: {0} is there twice")]
    EngineTwice(String),
    /// A key that needs a value above zero.
    #[error("`{0}` must be greater than 0")]
    Zero(&'static str),
}

impl FileConfig {
    /// Checks the configuration and fills in the defaults.
    ///
    /// # Errors
    /// If it names no source of engines, several of them, or values that cannot be used.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Ok(Settings {
            listen: self.listen.unwrap_or(DEFAULT_LISTEN),
            workers: self.workers.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
            source: self.engines.source()?,
            tunables: self.tunables()?,
        })
    }

    /// Checks the part that can change while the router runs.
    ///
    /// # Errors
    /// If a value cannot be used.
    pub fn tunables(&self) -> Result<Tunables, SettingsError> {
        let positive = |value: Option<HumanDuration>, default: Duration, key: &'static str| match value {
            Some(value) if value.0.is_zero() => Err(SettingsError::Zero(key)),
            Some(value) => Ok(value.0),
            None => Ok(default),
        };
        let max_body_bytes = self.max_body_bytes.unwrap_or(DEFAULT_MAX_BODY_BYTES);
        if max_body_bytes == 0 {
            return Err(SettingsError::Zero("maxBodyBytes"));
        }
        let mut models = BTreeMap::new();
        for (name, model) in &self.models {
            models.insert(name.clone(), model.objective.as_ref().map(ObjectiveConfig::checked).transpose()?);
        }
        Ok(Tunables {
            max_body_bytes,
            max_in_flight_per_engine: self.max_in_flight_per_engine,
            queue_discipline: self.queue.discipline.unwrap_or(DEFAULT_QUEUE_DISCIPLINE).into(),
            queue_deadline: positive(self.queue.deadline, DEFAULT_QUEUE_DEADLINE, "queue.deadline")?,
            queue_max_requests: self.queue.max_requests.unwrap_or(DEFAULT_QUEUE_REQUESTS),
            queue_max_bytes: self.queue.max_bytes.unwrap_or(DEFAULT_QUEUE_BYTES),
            max_attempts: self.retry.max_attempts.map_or(DEFAULT_MAX_ATTEMPTS, NonZeroU32::get),
            connect_timeout: positive(
                self.upstream.connect_timeout,
                DEFAULT_CONNECT_TIMEOUT,
                "upstream.connectTimeout",
            )?,
            answer_timeout: positive(self.upstream.answer_timeout, DEFAULT_ANSWER_TIMEOUT, "upstream.answerTimeout")?,
            models,
        })
    }
}

impl FileConfig {
    /// The same configuration with every default written out, for `--print-config`.
    #[must_use]
    pub fn with_defaults(mut self, settings: &Settings, process: &ProcessSettings) -> Self {
        let tunables = &settings.tunables;
        self.listen = Some(settings.listen);
        self.workers = Some(settings.workers);
        self.max_body_bytes = Some(tunables.max_body_bytes);
        self.queue.discipline.get_or_insert(DEFAULT_QUEUE_DISCIPLINE);
        self.queue.deadline = Some(HumanDuration(tunables.queue_deadline));
        self.queue.max_requests = Some(tunables.queue_max_requests);
        self.queue.max_bytes = Some(tunables.queue_max_bytes);
        self.retry.max_attempts = NonZeroU32::new(tunables.max_attempts);
        self.upstream.connect_timeout = Some(HumanDuration(tunables.connect_timeout));
        self.upstream.answer_timeout = Some(HumanDuration(tunables.answer_timeout));
        self.process.admin_address = Some(process.admin_address);
        self.process.log_level = Some(process.log_level.clone());
        self.process.log_format = Some(process.log_format);
        self
    }
}

impl EnginesConfig {
    /// Takes over the source that flags name; it replaces one from the file.
    pub fn override_with(&mut self, flags: Self) {
        if flags != Self::default() {
            *self = flags;
        }
    }

    fn source(&self) -> Result<Source, SettingsError> {
        match (self.fixed.is_empty(), &self.file, &self.kubernetes) {
            (true, None, None) => Err(SettingsError::NoSource),
            (false, Some(_), _) => Err(SettingsError::SeveralSources("a static list", "a file")),
            (false, None, Some(_)) => Err(SettingsError::SeveralSources("a static list", "Kubernetes")),
            (true, Some(_), Some(_)) => Err(SettingsError::SeveralSources("a file", "Kubernetes")),
            (true, Some(file), None) => Ok(Source::File(file.clone())),
            (true, None, Some(kubernetes)) => Ok(Source::Kubernetes(kubernetes.clone())),
            (false, None, None) => {
                let mut urls: Vec<EngineUrl> = Vec::with_capacity(self.fixed.len());
                for text in &self.fixed {
                    let url: EngineUrl = text.parse()?;
                    if urls.contains(&url) {
                        return Err(SettingsError::EngineTwice(text.clone()));
                    }
                    urls.push(url);
                }
                Ok(Source::Fixed(urls))
            }
        }
    }
}

#[cfg(test)]
mod tests;
