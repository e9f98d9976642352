//! The configuration file of standalone mode: what is written, with its defaults. `validate` makes it usable.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use process::args::ProcessConfig;
use process::config::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::CommandTemplate;
use crate::decision_log::DEFAULT_MEGABYTES;
use crate::past::PrometheusConfig;

/// Configuration of `autoscaler standalone`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StandaloneConfig {
    /// Logs and admin server; the admin address defaults to `127.0.0.1:9102`.
    #[serde(default)]
    pub process: ProcessConfig,
    /// Folder for everything that must outlive a restart: what runs, what was learned, engines.json, logs.
    /// Default: `$XDG_STATE_HOME/vllm-prod-stack`, or `~/.local/state/vllm-prod-stack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Time from one decision to the next; engines and router are scraped as often. 100ms to 1m.
    #[serde(default = "default_control_period")]
    pub control_period: Duration,
    /// Ports that engines get, going round the range, so that one rests before it is given again.
    #[serde(default)]
    pub ports: PortRange,
    /// GPUs that engines may use, as `CUDA_VISIBLE_DEVICES` names them (numbers or UUIDs). Empty: GPUs are not managed.
    #[serde(default)]
    pub gpus: Vec<GpuName>,
    /// The models and how their engines are started and scaled; at least one.
    pub models: Vec<ModelConfig>,
    /// The router in front of the engines.
    #[serde(default)]
    pub router: RouterConfig,
    /// The metrics API beside them.
    #[serde(default)]
    pub adapter: AdapterConfig,
    /// The Prometheus that a plan which begins reads the past from. Default: none, it learns from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusConfig>,
    /// The web page.
    #[serde(default)]
    pub page: PageConfig,
    /// What each decision was made on, in `<stateDir>/decisions`.
    #[serde(default)]
    pub decision_log: DecisionLogConfig,
}

/// A GPU as `CUDA_VISIBLE_DEVICES` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GpuName {
    /// Its number.
    Number(u32),
    /// Its UUID.
    Uuid(String),
}

/// A range of TCP ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl Default for PortRange {
    // Below the range that Linux gives to outgoing connections (32768 and up), so that none of them takes a port first.
    fn default() -> Self {
        Self { first: 20_000, last: 20_999 }
    }
}

/// One model and its engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ModelConfig {
    /// Short name, used in engine ids, logs and metrics: lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// The name clients write into `model`. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model_name: Option<String>,
    /// How an engine is started.
    pub command: CommandTemplate,
    /// Environment variables of the engines, beside those of this process.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Fewest engines. With 0 the router holds requests until an engine serves; without a router at least 1.
    #[serde(default = "default_min_replicas")]
    pub min_replicas: u32,
    /// Most engines, at most 256.
    pub max_replicas: u32,
    /// GPUs of each engine. Default: 1 if `gpus` are given, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_engine: Option<u32>,
    /// When the GPUs do not suffice for all models, those of higher priority get what they want first, once every model has
    /// its `minReplicas`. Within one priority a GPU goes where it is expected to be busiest.
    #[serde(default)]
    pub priority: i32,
    /// Latency objective.
    #[serde(default)]
    pub objective: ObjectiveConfig,
    /// Start-up of an engine.
    #[serde(default)]
    pub startup: StartupConfig,
    /// Time scales of the forecast.
    #[serde(default)]
    pub forecast: ForecastConfig,
    /// Floors at known times, such as office hours or a launch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleConfig>,
    /// Scaling up.
    #[serde(default)]
    pub scale_up: ScaleUpConfig,
    /// Scaling down.
    #[serde(default)]
    pub scale_down: ScaleDownConfig,
    /// Model and GPUs by the name of a shipped profile, such as qwen3-32b-h100-tp2: what an engine carries until that is
    /// learned. `autoscaler simulate --engine-profile list` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_profile: Option<String>,
    /// Requests at once that an engine is believed to carry until it is learned, where there is no profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_prior: Option<f64>,
    /// Ending an engine.
    #[serde(default)]
    pub drain: DrainConfig,
    /// Engines that sleep instead of ending.
    #[serde(default)]
    pub sleep: SleepConfig,
    /// What happens to an engine that ended or hangs.
    #[serde(default)]
    pub restart: RestartConfig,
}

/// Latency objective of a model, in wall time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ObjectiveConfig {
    /// Time to first token.
    pub ttft: Duration,
    /// Mean time between tokens.
    pub inter_token_latency: Duration,
    /// Share of requests that meet both, such as `"99%"`.
    pub attainment: String,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self { ttft: Duration::from_secs(1), inter_token_latency: Duration::from_millis(50), attainment: "99%".into() }
    }
}

/// Start-up of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct StartupConfig {
    /// Plan with this start-up time instead of the learned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#override: Option<Duration>,
    /// An engine that is not ready after this long is ended and started again.
    pub timeout: Duration,
}

impl Default for StartupConfig {
    // Weights of hundreds of gigabytes from a slow disk take a quarter of an hour; hanging for ever is worse than one retry.
    fn default() -> Self {
        Self { r#override: None, timeout: Duration::from_secs(30 * 60) }
    }
}

/// Time scales of the forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ForecastConfig {
    /// Length of the pattern that repeats.
    pub season: Duration,
    /// Scale of the forecast's minutes: 1 is life, 0.0125 a replay at eighty times its pace.
    pub tempo: f64,
    /// Time from one plan to the next, at least the control period; the reactive floor acts each control period.
    pub plan_step: Duration,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        Self { season: Duration::from_secs(86_400), tempo: 1.0, plan_step: Duration::from_secs(10) }
    }
}

/// A floor that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduleConfig {
    /// When it begins, as minute, hour, day of the month, month and day of the week: `30 8 * * MON-FRI`. The engines are
    /// ordered one start-up time earlier.
    pub cron: String,
    /// How long it lasts, at most 168h.
    pub duration: Duration,
    /// Time zone of `cron`, such as `Europe/Berlin`.
    #[serde(default = "default_time_zone")]
    pub time_zone: String,
    /// Fewest engines meanwhile; `maxReplicas` still bounds them.
    pub min_replicas: u32,
}

/// Scaling up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ScaleUpConfig {
    /// Most engines ordered within any 60 s, at least 1; `minReplicas` and schedules come before it. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas_per_minute: Option<u32>,
}

/// Scaling down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ScaleDownConfig {
    /// A lower number of engines is taken only if no higher one was wanted for this long.
    pub stabilization_seconds: f64,
    /// Most engines let go within any 60 s, at least 1; `maxReplicas` and models that take their GPUs come before it.
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas_per_minute: Option<u32>,
}

impl Default for ScaleDownConfig {
    fn default() -> Self {
        Self { stabilization_seconds: 60.0, max_replicas_per_minute: None }
    }
}

/// Ending an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DrainConfig {
    /// Longest wait for the requests of an engine before it gets SIGTERM.
    pub timeout: Duration,
    /// Longest wait from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

impl Default for DrainConfig {
    // 300 s is what the router grants a stream; 30 s lets a vLLM free its GPU memory.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), stop_timeout: Duration::from_secs(30) }
    }
}

/// Engines that sleep instead of ending (vLLM's sleep mode): woken in seconds, where a start takes minutes. They need
/// `VLLM_SERVER_DEV_MODE=1` in `environment` and `--enable-sleep-mode` in `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SleepConfig {
    /// Most engines that sleep at once; 0: none does.
    pub engines: u32,
    /// 1 keeps the weights in main memory; 2 discards them and loads them again at the wake.
    pub level: u8,
    /// What a sleeping engine costs, in ready ones: from 0 to below 1.
    pub price: f64,
}

impl Default for SleepConfig {
    // A tenth: main memory for the weights, and a GPU that draws little. Who lends the GPU to others writes less.
    fn default() -> Self {
        Self { engines: 0, level: 1, price: 0.1 }
    }
}

/// What happens to an engine that ended or hangs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RestartConfig {
    /// Wait before the first restart; doubles with each crash in a row.
    pub backoff: Duration,
    /// Longest wait before a restart. An engine that ran this long starts over with `backoff`.
    pub max_backoff: Duration,
    /// An engine whose `/health` fails for this long while its process runs is killed and started again.
    pub health_timeout: Duration,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            health_timeout: Duration::from_secs(60),
        }
    }
}

/// The router in front of the engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RouterConfig {
    /// Start and supervise it. `false`: it runs elsewhere with `--engines-file <stateDir>/engines.json`.
    pub start: bool,
    /// Program to start. Default: `router` beside this program, else the one on PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Address of its data port.
    pub address: SocketAddr,
    /// Address of its admin server. With `start: false` it may be null: then there is no router to look at.
    pub admin_address: Option<SocketAddr>,
    /// More settings for its configuration file, as in `router/config.schema.json`.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            start: true,
            program: None,
            address: loopback(8000),
            admin_address: Some(loopback(9101)),
            config: serde_json::Map::new(),
        }
    }
}

/// The metrics API beside the engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AdapterConfig {
    /// Start and supervise it.
    pub start: bool,
    /// Program to start. Default: `adapter` beside this program, else the one on PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Address of its API: plain HTTP, so it must be a loopback address.
    pub address: SocketAddr,
    /// Address of its admin server.
    pub admin_address: SocketAddr,
    /// More settings for its configuration file, as in `adapter/config.schema.json`.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            start: true,
            program: None,
            address: loopback(6443),
            admin_address: loopback(9103),
            config: serde_json::Map::new(),
        }
    }
}

/// The web page.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PageConfig {
    /// Serve it.
    pub enabled: bool,
    /// Its address. It has no login: keep it on loopback or behind one.
    pub address: SocketAddr,
    /// Engines run this many times faster than life (the emulator's `--time-scale`): the page multiplies latencies by it.
    pub time_scale: f64,
}

impl Default for PageConfig {
    fn default() -> Self {
        Self { enabled: true, address: loopback(8080), time_scale: 1.0 }
    }
}

/// The log of decisions, one file a model; `autoscaler explain --log` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DecisionLogConfig {
    /// Write it.
    pub enabled: bool,
    /// Most megabytes of a model's log, 1 to 100000; the oldest half goes first.
    pub max_megabytes: u32,
}

impl Default for DecisionLogConfig {
    fn default() -> Self {
        Self { enabled: true, max_megabytes: DEFAULT_MEGABYTES }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn default_control_period() -> Duration {
    Duration::from_secs(1)
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

fn default_min_replicas() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_schema_is_that_of_the_types() {
        let shipped = include_str!("../../standalone.schema.json");
        let command = "autoscaler standalone --print-config-schema > autoscaler/standalone.schema.json";
        assert_eq!(shipped, process::config::schema_json::<StandaloneConfig>(), "stale; run: {command}");
    }
}
