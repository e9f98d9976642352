//! Configuration as written → configuration that can be carried out. Every refusal names the key and the fix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use autoscaler_api::{Schedule, engine_profile, settings_at};
use autoscaler_plan::{DEFAULT_CAPACITY_PRIOR, Objective, PoolTerms, Queue, RateLimits, Rhythm, Settings};

use engines::handover::ServedObjective;
use jiff::Timestamp;

use super::command::CommandTemplate;
use super::config::{GpuName, ModelConfig, PortRange, SleepConfig, StandaloneConfig};
use super::fleet::{Limits, ModelRules, SleepLevel};
use super::sleep::{LONGEST_WAKE, SleepTerms};
use crate::decision_log::MOST_MEGABYTES;
use crate::past::PrometheusConfig;

/// Most engines of one model: far above what one host holds, low enough that a typing error is noticed.
const MOST_REPLICAS: u32 = 256;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidKey {
    /// Path of the key, such as `models[0].maxReplicas`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

fn refuse<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, InvalidKey> {
    Err(InvalidKey { key: key.into(), problem: problem.into() })
}

/// A model that can be run.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its short name.
    pub name: String,
    /// The name clients use.
    pub served_model_name: String,
    /// How its engines are started.
    pub command: CommandTemplate,
    /// Variables of its engines.
    pub environment: BTreeMap<String, String>,
    /// What the decision needs.
    pub settings: Settings,
    /// Floors at known times: those of the moment belong into `settings`.
    pub schedules: Vec<Schedule>,
    /// What the fleet needs.
    pub rules: ModelRules,
    /// How its engines sleep, if they do.
    pub sleep: Option<SleepTerms>,
    /// Its place among those that share the GPUs; `None` if it needs none.
    pub pool: Option<PoolTerms>,
}

impl Model {
    /// The settings with the floors of this moment.
    #[must_use]
    pub fn settings_at(&self, now: Timestamp) -> Settings {
        settings_at(&self.settings, &self.schedules, now)
    }
}

/// A configuration that can be carried out.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The models, in the order of the file.
    pub models: Vec<Model>,
    /// All GPUs.
    pub gpus: Vec<String>,
    /// Folder of state.
    pub state_dir: PathBuf,
    /// Time from one decision to the next.
    pub control_period: Duration,
    /// Ports of engines.
    pub ports: PortRange,
    /// The file as written, for what needs no checking.
    pub config: StandaloneConfig,
}

/// Checks a configuration. `default_state_dir` is used when none is written.
///
/// # Errors
/// The first key that cannot be used.
pub fn validate(config: StandaloneConfig, default_state_dir: &Path) -> Result<Validated, InvalidKey> {
    let control_period: Duration = config.control_period.into();
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&control_period) {
        return refuse("controlPeriod", "must be between 100ms and 1m");
    }
    if config.ports.first == 0 || config.ports.first > config.ports.last {
        return refuse("ports", "needs 1 <= first <= last, for example {first: 20000, last: 20999}");
    }
    if config.models.is_empty() {
        return refuse("models", "is empty; add at least one model with name, command and maxReplicas");
    }
    if let Some(Err((field, problem))) = config.prometheus.as_ref().map(PrometheusConfig::check) {
        return refuse(format!("prometheus.{field}"), problem);
    }
    let gpus = gpu_names(&config.gpus)?;
    let mut models = Vec::new();
    let mut names = BTreeSet::new();
    for (position, model) in config.models.iter().enumerate() {
        let key = |field: &str| format!("models[{position}].{field}");
        if !names.insert(model.name.clone()) {
            return refuse(key("name"), format!("`{}` is there twice; each model needs a name of its own", model.name));
        }
        let model = validate_model(model, &gpus, control_period, &key)?;
        if model.settings.min_replicas == 0 && config.router.admin_address.is_none() {
            return refuse(key("minReplicas"), "must be at least 1 without a router: nothing would hold requests");
        }
        if let Some(other) = models.iter().find(|other: &&Model| other.served_model_name == model.served_model_name) {
            let problem =
                format!("`{}` is served by {} already; choose another name", model.served_model_name, other.name);
            return refuse(key("servedModelName"), problem);
        }
        models.push(model);
    }
    check_room(&models, &gpus, config.ports)?;
    check_addresses(&config)?;
    if !(config.page.time_scale.is_finite() && config.page.time_scale > 0.0) {
        return refuse("page.timeScale", "must be above 0; 1 means that engines run as fast as life");
    }
    if !(1..=MOST_MEGABYTES).contains(&config.decision_log.max_megabytes) {
        return refuse(
            "decisionLog.maxMegabytes",
            format!("must be from 1 to {MOST_MEGABYTES}; enabled: false writes none"),
        );
    }
    let state_dir = config.state_dir.clone().unwrap_or_else(|| default_state_dir.to_owned());
    Ok(Validated { models, gpus, state_dir, control_period, ports: config.ports, config })
}

fn gpu_names(gpus: &[GpuName]) -> Result<Vec<String>, InvalidKey> {
    let mut names = Vec::new();
    for (position, gpu) in gpus.iter().enumerate() {
        let name = match gpu {
            GpuName::Number(number) => number.to_string(),
            GpuName::Uuid(uuid) => uuid.clone(),
        };
        if name.is_empty() || name.contains(',') {
            return refuse(format!("gpus[{position}]"), "must be one GPU: a number or a UUID");
        }
        if names.contains(&name) {
            return refuse(format!("gpus[{position}]"), format!("GPU {name} is there twice; list each GPU once"));
        }
        names.push(name);
    }
    Ok(names)
}

fn validate_model(
    model: &ModelConfig,
    gpus: &[String],
    control_period: Duration,
    key: &dyn Fn(&str) -> String,
) -> Result<Model, InvalidKey> {
    let is_label = !model.name.is_empty()
        && model.name.len() <= 63
        && model.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !model.name.starts_with('-')
        && !model.name.ends_with('-');
    if !is_label {
        let problem = format!(
            "`{}` must be 1 to 63 lower-case letters, digits or '-', such as llama-8b; put the name clients use into servedModelName",
            model.name
        );
        return refuse(key("name"), problem);
    }
    if !(model.min_replicas.max(1)..=MOST_REPLICAS).contains(&model.max_replicas) {
        let problem = format!("must be from minReplicas ({}), at least 1, to {MOST_REPLICAS}", model.min_replicas);
        return refuse(key("maxReplicas"), problem);
    }
    let gpus_per_engine = model.gpus_per_engine.unwrap_or_else(|| u32::from(!gpus.is_empty())) as usize;
    if gpus_per_engine > gpus.len() {
        let problem =
            format!("{gpus_per_engine} is more than the {} listed in gpus; list them or lower it", gpus.len());
        return refuse(key("gpusPerEngine"), problem);
    }
    let pool = u32::try_from(gpus_per_engine).ok().and_then(NonZeroU32::new);
    if pool.is_none() && model.priority != 0 {
        return refuse(key("priority"), "is among models that share GPUs; list them in gpus, or leave priority out");
    }
    let served_model_name = model.served_model_name.clone().unwrap_or_else(|| model.name.clone());
    if served_model_name.trim().is_empty() {
        return refuse(key("servedModelName"), "is empty; leave it out or write the name clients use");
    }
    let settings = settings(model, control_period, key)?;
    let sleep = sleep(model, key)?;
    let rules = ModelRules {
        gpus_per_engine,
        most_asleep: sleep.map_or(0, |sleep| sleep.engines as usize),
        sleep_level: sleep.map(|sleep| sleep.level).unwrap_or_default(),
        limits: limits(model, key)?,
        served_model_name: served_model_name.clone(),
        objective: ServedObjective {
            ttft_seconds: settings.objective.ttft_seconds,
            inter_token_latency_seconds: Some(settings.objective.inter_token_latency_seconds),
        },
    };
    Ok(Model {
        name: model.name.clone(),
        served_model_name,
        command: model.command.clone(),
        environment: model.environment.clone(),
        settings,
        schedules: schedules(model, key)?,
        rules,
        sleep,
        pool: pool.map(|gpus_per_replica| PoolTerms { gpus_per_replica, priority: model.priority }),
    })
}

fn settings(
    model: &ModelConfig,
    control_period: Duration,
    key: &dyn Fn(&str) -> String,
) -> Result<Settings, InvalidKey> {
    let objective = &model.objective;
    if objective.ttft.0.is_zero() {
        return refuse(key("objective.ttft"), "must be above 0, such as 1s");
    }
    if objective.inter_token_latency.0.is_zero() {
        return refuse(key("objective.interTokenLatency"), "must be above 0, such as 50ms");
    }
    let attainment = objective.attainment.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
    let Some(attainment) = attainment.filter(|percent| *percent > 0.0 && *percent < 100.0) else {
        let problem =
            format!("`{}` is not a share; write a percentage above 0 and below 100, such as 99%", objective.attainment);
        return refuse(key("objective.attainment"), problem);
    };
    let stabilization_seconds = model.scale_down.stabilization_seconds;
    if !(0.0..=3600.0).contains(&stabilization_seconds) {
        return refuse(key("scaleDown.stabilizationSeconds"), "must be from 0 to 3600");
    }
    let capacity_prior = model.capacity_prior.unwrap_or(DEFAULT_CAPACITY_PRIOR);
    if !(capacity_prior.is_finite() && capacity_prior >= 1.0) {
        return refuse(key("capacityPrior"), "must be at least 1: requests at once that an engine carries");
    }
    let profile = model.engine_profile.as_deref().map(engine_profile).transpose();
    let engine_profile = profile.or_else(|problem| refuse(key("engineProfile"), problem))?;
    let forecast = &model.forecast;
    let plan_step_seconds = forecast.plan_step.as_secs_f64().max(control_period.as_secs_f64());
    let rhythm = Rhythm::new(forecast.season.as_secs_f64(), forecast.tempo, plan_step_seconds);
    let rhythm = rhythm.or_else(|error| refuse(key(error.key()), error.to_string()))?;
    Ok(Settings {
        min_replicas: model.min_replicas,
        max_replicas: model.max_replicas,
        objective: Objective {
            ttft_seconds: objective.ttft.as_secs_f64(),
            inter_token_latency_seconds: objective.inter_token_latency.as_secs_f64(),
            attainment: attainment / 100.0,
        },
        stabilization_seconds,
        rate_limits: rate_limits(model, key)?,
        startup_seconds: model.startup.r#override.map(|startup| startup.as_secs_f64()),
        control_period_seconds: control_period.as_secs_f64(),
        capacity_prior,
        engine_profile,
        floors: Vec::new(),
        rhythm,
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    })
}

fn rate_limits(model: &ModelConfig, key: &dyn Fn(&str) -> String) -> Result<RateLimits, InvalidKey> {
    let limit = |field: &str, written: Option<u32>| match written.map(NonZeroU32::new) {
        Some(None) => refuse(key(field), "must be at least 1, or left out for no limit"),
        limit => Ok(limit.flatten()),
    };
    Ok(RateLimits {
        up_per_minute: limit("scaleUp.maxReplicasPerMinute", model.scale_up.max_replicas_per_minute)?,
        down_per_minute: limit("scaleDown.maxReplicasPerMinute", model.scale_down.max_replicas_per_minute)?,
    })
}

fn sleep(model: &ModelConfig, key: &dyn Fn(&str) -> String) -> Result<Option<SleepTerms>, InvalidKey> {
    let SleepConfig { engines, level, price } = model.sleep;
    if engines > MOST_REPLICAS {
        return refuse(key("sleep.engines"), format!("must be at most {MOST_REPLICAS}"));
    }
    let Some(level) = SleepLevel::of_number(level) else {
        return refuse(key("sleep.level"), "must be 1 (weights in main memory) or 2 (weights loaded again)");
    };
    if !(0.0..1.0).contains(&price) {
        return refuse(key("sleep.price"), "must be from 0 to below 1: what a sleeping engine costs, in ready ones");
    }
    let timeout: Duration = model.startup.timeout.into();
    let longest_wake = match level {
        SleepLevel::Offloaded => timeout.min(LONGEST_WAKE),
        SleepLevel::Discarded => timeout,
    };
    Ok((engines > 0).then_some(SleepTerms { engines, level, price, longest_wake }))
}

fn schedules(model: &ModelConfig, key: &dyn Fn(&str) -> String) -> Result<Vec<Schedule>, InvalidKey> {
    let schedules = model.schedules.iter().enumerate().map(|(position, schedule)| {
        let duration = schedule.duration.into();
        Schedule::new(&schedule.cron, duration, &schedule.time_zone, schedule.min_replicas).or_else(|error| {
            let problem = format!("{}; {}", error.problem, error.fix);
            refuse(key(&format!("schedules[{position}].{}", error.key)), problem)
        })
    });
    schedules.collect()
}

fn limits(model: &ModelConfig, key: &dyn Fn(&str) -> String) -> Result<Limits, InvalidKey> {
    let positive = |field: &str, duration: process::config::Duration| match duration.0.is_zero() {
        true => refuse(key(field), "must be above 0, such as 30s"),
        false => Ok(duration.as_secs_f64()),
    };
    let limits = Limits {
        startup: positive("startup.timeout", model.startup.timeout)?,
        drain: model.drain.timeout.as_secs_f64(),
        stop: positive("drain.stopTimeout", model.drain.stop_timeout)?,
        backoff: positive("restart.backoff", model.restart.backoff)?,
        max_backoff: positive("restart.maxBackoff", model.restart.max_backoff)?,
        health: positive("restart.healthTimeout", model.restart.health_timeout)?,
    };
    if limits.max_backoff < limits.backoff {
        return refuse(key("restart.maxBackoff"), "must not be shorter than restart.backoff");
    }
    Ok(limits)
}

/// GPUs and ports must hold at least the fewest engines of all models.
fn check_room(models: &[Model], gpus: &[String], ports: PortRange) -> Result<(), InvalidKey> {
    let needed: usize = models.iter().map(|m| m.settings.min_replicas as usize * m.rules.gpus_per_engine).sum();
    if needed > gpus.len() {
        let problem = format!("{} GPUs do not hold minReplicas x gpusPerEngine of all models ({needed})", gpus.len());
        return refuse("gpus", problem);
    }
    let most: usize = models.iter().map(|m| m.settings.max_replicas as usize).sum();
    let available = usize::from(ports.last - ports.first) + 1;
    if most > available {
        return refuse(
            "ports",
            format!("{available} ports do not hold maxReplicas of all models ({most}); widen the range"),
        );
    }
    Ok(())
}

fn check_addresses(config: &StandaloneConfig) -> Result<(), InvalidKey> {
    if config.router.start && config.router.admin_address.is_none() {
        return refuse("router.adminAddress", "is needed with start: true, for example 127.0.0.1:9101");
    }
    if config.adapter.start && !config.adapter.address.ip().is_loopback() {
        let problem = "must be a loopback address such as 127.0.0.1:6443: the standalone adapter speaks plain HTTP without authentication";
        return refuse("adapter.address", problem);
    }
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    let mut listen = |key: &'static str, address: Option<SocketAddr>| {
        let Some(port) = address.map(|address| address.port()).filter(|port| *port != 0) else { return Ok(()) };
        match taken.insert(port, key) {
            Some(other) => refuse(key, format!("port {port} is also that of {other}; choose another")),
            None => Ok(()),
        }
    };
    listen("process.adminAddress", config.process.admin_address)?;
    if config.page.enabled {
        listen("page.address", Some(config.page.address))?;
    }
    if config.router.start {
        listen("router.address", Some(config.router.address))?;
        listen("router.adminAddress", config.router.admin_address)?;
    }
    if config.adapter.start {
        listen("adapter.address", Some(config.adapter.address))?;
        listen("adapter.adminAddress", Some(config.adapter.admin_address))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
