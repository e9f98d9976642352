//! What an operator writes.
#![expect(unreachable_pub, reason = "KubeSchema generates a copy of each struct inside a function")]
#![expect(clippy::duplicated_attributes, reason = "each printer column has a type and a path of its own")]

use kube::{CustomResource, KubeSchema};
use process::duration::HumanDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::percent::Percent;
use crate::pool::PoolSpec;
use crate::status::EngineAutoscalerStatus;
use crate::tier::TierSpec;
use crate::variant::VariantSpec;

/// Keeps a Deployment of LLM engines at the fewest replicas that meet a latency objective.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "autoscaling.vllm-prod-stack.io",
    version = "v1alpha1",
    kind = "EngineAutoscaler",
    namespaced,
    shortname = "eas",
    category = "all",
    status = "EngineAutoscalerStatus",
    derive = "PartialEq",
    doc = "Keeps a Deployment of LLM engines at the fewest replicas that meet a latency objective.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minReplicas", priority = 1),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxReplicas", priority = 1),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Why", type_ = "string", json_path = ".status.message")
)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be above maxReplicas")
        .field_path(".minReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct EngineAutoscalerSpec {
    /// What is scaled; the selector of its scale subresource finds the engines.
    pub scale_target_ref: ScaleTargetRef,
    /// The name clients send in `model`: joins the router's series. Without it, engines' metrics alone count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub served_model_name: Option<String>,
    /// Fewest replicas. 0 lets the model sleep while nobody asks for it; the router then holds requests, so 0 needs one.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: i32,
    /// Most replicas.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: i32,
    /// Who acts: `Scale` writes the target's scale; `ThroughHPA` publishes `engine_desired_replicas` for an HPA;
    /// `Advise` decides and never acts.
    #[serde(default)]
    pub mode: Mode,
    /// Keep the replicas as they are; decisions are still made and shown.
    #[serde(default)]
    pub paused: bool,
    /// Latency objective, in wall time.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// Start-up time from order to Ready. It is learned; what is set here overrides it.
    #[serde(default)]
    pub startup: StartupSpec,
    /// Model and GPUs by the name of a shipped profile, such as `qwen3-32b-h100-tp2`: what a replica carries until that is
    /// learned, and how far what is learned may be from it. `autoscaler simulate --engine-profile list` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub engine_profile: Option<String>,
    /// Time scales of the forecast.
    #[serde(default)]
    pub forecast: ForecastSpec,
    /// Floors at known times, such as office hours or a launch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub schedules: Vec<ScheduleSpec>,
    /// How replicas are ordered.
    #[serde(default)]
    pub scale_up: ScaleUpSpec,
    /// How replicas are let go.
    #[serde(default)]
    pub scale_down: ScaleDownSpec,
    /// The GPUs it shares with other targets of this namespace; without it nothing but `maxReplicas` bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSpec>,
    /// One of several targets that serve `servedModelName` on unlike GPUs: together they carry its demand at the least price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantSpec>,
    /// Which half of each request its engines serve, where prompts are computed on engines of their own. The target that
    /// serves the other half of `servedModelName` is planned together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierSpec>,
}

/// An object with a scale subresource, in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Such as `apps/v1`.
    #[serde(default = "apps_v1")]
    #[schemars(length(min = 1))]
    pub api_version: String,
    /// Such as `Deployment`.
    #[serde(default = "deployment")]
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// Who acts on decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The controller writes the target's scale.
    #[default]
    Scale,
    /// An HPA follows the published metric.
    ThroughHPA,
    /// Nobody: decisions are shown.
    Advise,
}

impl Mode {
    /// As written in the object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scale => "Scale",
            Self::ThroughHPA => "ThroughHPA",
            Self::Advise => "Advise",
        }
    }
}

/// Share of requests that get their first token, and then their tokens, in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("duration(self.ttft) > duration('0s') && duration(self.interTokenLatency) > duration('0s')")
        .message("ttft and interTokenLatency must be longer than 0s")
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSpec {
    /// Time to first token.
    #[serde(default = "ttft")]
    #[schemars(schema_with = "duration_schema")]
    pub ttft: HumanDuration,
    /// Mean time between the tokens of a request.
    #[serde(default = "inter_token_latency")]
    #[schemars(schema_with = "duration_schema")]
    pub inter_token_latency: HumanDuration,
    /// Share of requests that meet both.
    #[serde(default = "attainment")]
    pub attainment: Percent,
}

impl Default for ObjectiveSpec {
    fn default() -> Self {
        Self { ttft: ttft(), inter_token_latency: inter_token_latency(), attainment: attainment() }
    }
}

/// Override of the learned start-up time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartupSpec {
    /// Plan with this start-up time instead of the learned one.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_duration_schema")]
    pub fixed: Option<HumanDuration>,
}

/// Time scales of the forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastSpec {
    /// Length of the pattern that repeats.
    #[serde(default = "season")]
    #[schemars(schema_with = "duration_schema")]
    pub season: HumanDuration,
    /// Scale of the forecast's minutes: 1 is life, 0.0125 a replay at eighty times its pace.
    #[serde(default = "tempo")]
    #[schemars(range(min = 0.0001, max = 10.0))]
    pub tempo: f64,
    /// Time from one plan to the next, at least the control period; the reactive floor acts each control period.
    #[serde(default = "plan_step")]
    #[schemars(schema_with = "duration_schema")]
    pub plan_step: HumanDuration,
}

impl Default for ForecastSpec {
    fn default() -> Self {
        Self { season: season(), tempo: tempo(), plan_step: plan_step() }
    }
}

/// A floor that comes again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// When it begins, as minute, hour, day of the month, month and day of the week: `30 8 * * MON-FRI`. The replicas are
    /// ordered one start-up time earlier.
    #[schemars(length(min = 9, max = 256))]
    pub cron: String,
    /// How long it lasts, at most 168h.
    #[schemars(schema_with = "duration_schema")]
    pub duration: HumanDuration,
    /// Time zone of `cron`, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Fewest replicas meanwhile; `maxReplicas` still bounds them.
    #[schemars(range(min = 1, max = 10_000))]
    pub min_replicas: i32,
}

/// How replicas are ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleUpSpec {
    /// Most replicas ordered within any 60 s; absent: no limit. `minReplicas` and schedules come before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replicas_per_minute: Option<i32>,
}

/// How replicas are let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDownSpec {
    /// A lower number is taken only when nothing higher was wanted for this many seconds.
    #[serde(default = "stabilization_seconds")]
    #[schemars(range(min = 0, max = 86_400), extend("format" = "int32"))]
    pub stabilization_seconds: u32,
    /// Most replicas let go within any 60 s; absent: no limit. `maxReplicas` and pools come before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replicas_per_minute: Option<i32>,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self { stabilization_seconds: stabilization_seconds(), max_replicas_per_minute: None }
    }
}

fn one() -> i32 {
    1
}

fn apps_v1() -> String {
    "apps/v1".to_owned()
}

fn deployment() -> String {
    "Deployment".to_owned()
}

/// Chat users notice a second.
fn ttft() -> HumanDuration {
    HumanDuration::from_secs(1)
}

/// 20 tokens a second: faster than anybody reads.
fn inter_token_latency() -> HumanDuration {
    HumanDuration::from_millis(50)
}

fn attainment() -> Percent {
    "99%".parse().expect("a percentage")
}

/// People live by the day.
fn season() -> HumanDuration {
    HumanDuration::from_secs(86_400)
}

fn tempo() -> f64 {
    1.0
}

fn plan_step() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn utc() -> String {
    "UTC".to_owned()
}

/// As long as a warm start takes at best: giving a replica back earlier saves less than its return costs.
fn stabilization_seconds() -> u32 {
    60
}

/// Only the units that Kubernetes' CEL `duration()` reads too.
fn duration_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$",
        "description": "A duration such as 250ms, 1s, 5m or 1h30m",
    })
}

fn optional_duration_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = duration_schema(generator);
    schema.insert("nullable".to_owned(), true.into());
    schema
}
