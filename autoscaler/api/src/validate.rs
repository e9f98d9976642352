//! From what was written to what is decided on. The API server checks the same rules; an older definition, or none, may
//! let a bad object through.

use std::borrow::Cow;
use std::num::NonZeroU32;

use autoscaler_plan::{Objective, Queue, RateLimits, Rhythm, Settings};
use engine_model::{Preset, preset, presets};
use jiff::Timestamp;

use crate::pool::{PoolMember, pool_member};
use crate::schedule::{Schedule, settings_at};
use crate::spec::{EngineAutoscalerSpec, Mode};
use crate::tier::{TierMember, tier_member};
use crate::variant::{VariantMember, variant_member};

/// A spec that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// What is scaled.
    pub target: Target,
    /// Who acts.
    pub mode: Mode,
    /// The router's name of the model.
    pub served_model_name: Option<String>,
    /// What to decide by.
    pub settings: Settings,
    /// The GPUs it shares.
    pub pool: Option<PoolMember>,
    /// The model it serves with others.
    pub variant: Option<VariantMember>,
    /// The half of each request that it serves.
    pub tier: Option<TierMember>,
    /// Floors at known times: those of the moment belong into `settings`.
    pub schedules: Vec<Schedule>,
}

impl Validated {
    /// The settings with the floors of this moment.
    #[must_use]
    pub fn settings_at(&self, now: Timestamp) -> Settings {
        settings_at(&self.settings, &self.schedules, now)
    }
}

/// An object with a scale subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// API group, empty for the core group.
    pub group: String,
    /// API version without its group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

/// Why a spec cannot be acted on: the field and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}; {fix}")]
pub struct InvalidSpec {
    /// Path below `spec`.
    pub field: Cow<'static, str>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub fix: &'static str,
}

/// Checks a spec.
///
/// # Errors
/// The first field that is wrong, and the fix.
pub fn validate(
    spec: &EngineAutoscalerSpec,
    control_period_seconds: f64,
    capacity_prior: f64,
) -> Result<Validated, InvalidSpec> {
    let refuse = |field: &'static str, problem: String, fix| Err(InvalidSpec { field: field.into(), problem, fix });
    let (Ok(min_replicas), Ok(max_replicas)) = (u32::try_from(spec.min_replicas), u32::try_from(spec.max_replicas))
    else {
        return refuse("minReplicas", "replicas must not be negative".to_owned(), "write 0 or more");
    };
    if max_replicas == 0 {
        return refuse("maxReplicas", "0 is not a fleet".to_owned(), "write 1 or more, or set paused");
    }
    if min_replicas > max_replicas {
        let problem = format!("{min_replicas} is above maxReplicas {max_replicas}");
        return refuse("minReplicas", problem, "lower minReplicas or raise maxReplicas");
    }
    let objective = Objective {
        ttft_seconds: spec.objective.ttft.as_secs_f64(),
        inter_token_latency_seconds: spec.objective.inter_token_latency.as_secs_f64(),
        attainment: spec.objective.attainment.as_share(),
    };
    if objective.ttft_seconds <= 0.0 {
        return refuse("objective.ttft", "it must be longer than 0s".to_owned(), "write a duration such as 1s");
    }
    if objective.inter_token_latency_seconds <= 0.0 {
        let field = "objective.interTokenLatency";
        return refuse(field, "it must be longer than 0s".to_owned(), "write a duration such as 50ms");
    }
    let startup_seconds = spec.startup.fixed.map(|fixed| fixed.as_secs_f64());
    if startup_seconds.is_some_and(|seconds| seconds <= 0.0) {
        let fix = "write a duration such as 90s, or leave it out to have it learned";
        return refuse("startup.override", "it must be longer than 0s".to_owned(), fix);
    }
    let plan_step_seconds = spec.forecast.plan_step.as_secs_f64().max(control_period_seconds);
    let rhythm = match Rhythm::new(spec.forecast.season.as_secs_f64(), spec.forecast.tempo, plan_step_seconds) {
        Ok(rhythm) => rhythm,
        Err(error) => {
            let fix = "write a season such as 24h, a tempo above 0 (1) and a planStep such as 10s";
            return refuse(error.key(), error.to_string(), fix);
        }
    };
    let engine_profile = match &spec.engine_profile {
        None => None,
        Some(name) => match engine_profile(name) {
            Ok(profile) => Some(profile),
            Err(problem) => return refuse("engineProfile", problem, "write one of these, or leave it out"),
        },
    };
    let tier = tier_member(spec)?;
    let settings = Settings {
        min_replicas,
        max_replicas,
        objective,
        stabilization_seconds: f64::from(spec.scale_down.stabilization_seconds).max(control_period_seconds),
        rate_limits: rate_limits(spec)?,
        startup_seconds,
        control_period_seconds,
        capacity_prior,
        engine_profile,
        floors: Vec::new(),
        rhythm,
        // Requests of a tier queue in its engines, where none yields to another.
        queue: if tier.is_some() { Queue::Fifo } else { Queue::Deadline },
        tier: tier.as_ref().map(|member| member.tier),
        paused: spec.paused,
    };
    Ok(Validated {
        target: target(spec)?,
        pool: pool_member(spec)?,
        variant: variant_member(spec)?,
        tier,
        mode: spec.mode,
        served_model_name: spec.served_model_name.clone().filter(|name| !name.is_empty()),
        settings,
        schedules: schedules(spec)?,
    })
}

/// The shipped profile of that name.
///
/// # Errors
/// The names that there are.
pub fn engine_profile(name: &str) -> Result<Preset, String> {
    preset(name).copied().ok_or_else(|| {
        let known: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
        format!("`{name}` is no shipped profile; there are {}", known.join(", "))
    })
}

fn rate_limits(spec: &EngineAutoscalerSpec) -> Result<RateLimits, InvalidSpec> {
    let limit = |field: &'static str, written: Option<i32>| {
        let Some(written) = written else { return Ok(None) };
        let refuse = |problem, fix| Err(InvalidSpec { field: field.into(), problem, fix });
        let Some(limit) = u32::try_from(written).ok().and_then(NonZeroU32::new) else {
            return refuse(format!("{written} lets nothing change"), "write 1 or more, or leave it out for no limit");
        };
        if spec.variant.is_some() {
            let problem = "variants are ordered and let go by what the mix of them costs, at no rate of their own";
            return refuse(problem.to_owned(), "leave it out, or leave variant out");
        }
        Ok(Some(limit))
    };
    Ok(RateLimits {
        up_per_minute: limit("scaleUp.maxReplicasPerMinute", spec.scale_up.max_replicas_per_minute)?,
        down_per_minute: limit("scaleDown.maxReplicasPerMinute", spec.scale_down.max_replicas_per_minute)?,
    })
}

fn schedules(spec: &EngineAutoscalerSpec) -> Result<Vec<Schedule>, InvalidSpec> {
    let schedules = spec.schedules.iter().enumerate().map(|(position, schedule)| {
        // A negative number is no floor either.
        let min_replicas = u32::try_from(schedule.min_replicas).unwrap_or(0);
        Schedule::new(&schedule.cron, schedule.duration.into(), &schedule.time_zone, min_replicas).map_err(|error| {
            let field = format!("schedules[{position}].{}", error.key).into();
            InvalidSpec { field, problem: error.problem, fix: error.fix }
        })
    });
    schedules.collect()
}

fn target(spec: &EngineAutoscalerSpec) -> Result<Target, InvalidSpec> {
    let reference = &spec.scale_target_ref;
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let target = Target {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: reference.kind.clone(),
        name: reference.name.clone(),
    };
    for (field, value) in [
        ("scaleTargetRef.apiVersion", &target.version),
        ("scaleTargetRef.kind", &target.kind),
        ("scaleTargetRef.name", &target.name),
    ] {
        // A slash would reach another path of the API.
        if value.is_empty() || value.contains(['/', '?', '#', ' ']) {
            let problem = format!("`{value}` is not a name");
            return Err(InvalidSpec {
                field: field.into(),
                problem,
                fix: "name an object such as apps/v1, Deployment, llama-8b",
            });
        }
    }
    Ok(target)
}
