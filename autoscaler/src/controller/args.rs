//! Flags and configuration file of `autoscaler controller`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use autoscaler_plan::DEFAULT_CAPACITY_PRIOR;
use process::args::{ProcessArgs, ProcessConfig, ProcessSettings};
use process::duration::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision_log::{DEFAULT_MEGABYTES, MOST_MEGABYTES};
use crate::past::PrometheusConfig;

/// The lease when nothing else is said.
const DEFAULT_LEASE: &str = "vllm-prod-stack-autoscaler";

/// Scale the targets of the EngineAutoscalers of one namespace.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Every setting: flag, then environment variable, then configuration file, then default.")]
pub struct ControllerArgs {
    /// Flags that every program has.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Namespace to watch [default: the pod's own, else that of the kubeconfig]
    #[arg(long, env = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only engines and routers of this Helm release (label app.kubernetes.io/instance) [default: all]
    #[arg(long, env = "RELEASE")]
    pub release: Option<String>,
    /// Lease that says which replica acts [default: vllm-prod-stack-autoscaler]
    #[arg(long, env = "LEASE_NAME")]
    pub lease_name: Option<String>,
    /// Name of this replica in the lease [default: the host name]
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Time from one decision to the next; engines are scraped as often [default: 2s]
    #[arg(long, env = "CONTROL_PERIOD", value_name = "DURATION")]
    pub control_period: Option<HumanDuration>,
    /// Time between two scrapes of a router [default: 1s]
    #[arg(long, env = "ROUTER_PERIOD", value_name = "DURATION")]
    pub router_period: Option<HumanDuration>,
    /// Write what each decision was made on into this folder, one bounded file an object; see `explain --log` [default: off]
    #[arg(long, env = "DECISION_LOG", value_name = "FOLDER")]
    pub decision_log: Option<PathBuf>,
}

/// Configuration file of `autoscaler controller`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ControllerConfig {
    /// Logs and admin server.
    pub process: ProcessConfig,
    /// Namespace to watch; default: the pod's own, else that of the kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only engines and routers of this Helm release; default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Lease that says which replica acts; default: vllm-prod-stack-autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_name: Option<String>,
    /// Name of this replica in the lease; default: the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Time from one decision to the next, 100ms to 1m; engines are scraped as often; default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_period: Option<HumanDuration>,
    /// Time between two scrapes of a router, 100ms to 1m; default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_period: Option<HumanDuration>,
    /// Requests at once that a replica is believed to carry until that is learned, 1 to 10000; default: 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_prior: Option<f64>,
    /// GPUs that several targets share, by the name that `spec.pool.name` of their EngineAutoscalers gives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, PoolConfig>,
    /// The Prometheus that a plan which begins reads the past from; default: none, it learns from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusConfig>,
    /// What each decision was made on, on disk; default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_log: Option<DecisionLogFolder>,
}

/// GPUs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PoolConfig {
    /// How many there are for the EngineAutoscalers that name the pool, at least 1.
    #[schemars(range(min = 1))]
    pub gpus: u32,
}

/// Where decisions are logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DecisionLogFolder {
    /// Folder of one file an object. It must be writable: in a pod, a volume.
    pub folder: PathBuf,
    /// Most megabytes of an object's log, 1 to 100000; the oldest half goes first.
    #[serde(default = "default_megabytes")]
    pub max_megabytes: u32,
}

fn default_megabytes() -> u32 {
    DEFAULT_MEGABYTES
}

/// What applies after flags, environment, file and defaults are put in order.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// Logs and admin server.
    pub process: ProcessSettings,
    /// Namespace to watch, unless it is the client's default.
    pub namespace: Option<String>,
    /// Release to keep to.
    pub release: Option<String>,
    /// Lease.
    pub lease_name: String,
    /// This replica.
    pub identity: String,
    /// Time from one decision to the next.
    pub control_period: Duration,
    /// Time between two scrapes of a router.
    pub router_period: Duration,
    /// Capacity of a replica until learned.
    pub capacity_prior: f64,
    /// GPUs that targets share.
    pub pools: BTreeMap<String, PoolConfig>,
    /// Where the past is read, if it is.
    pub prometheus: Option<PrometheusConfig>,
    /// Where decisions are logged, if they are.
    pub decision_log: Option<DecisionLogFolder>,
}

impl ControllerArgs {
    /// Reads the file, if any.
    ///
    /// # Errors
    /// If it cannot be read; the error names file, line and key.
    pub fn file(&self) -> Result<ControllerConfig, process::config::ConfigError> {
        self.process
            .config
            .as_deref()
            .map_or_else(|| Ok(ControllerConfig::default()), |path: &Path| process::config::load(path))
    }

    /// Flags over the file, as a file again.
    #[must_use]
    pub fn over(&self, mut file: ControllerConfig) -> ControllerConfig {
        file.process.admin_address = self.process.admin_address.or(file.process.admin_address);
        file.process.log_level = self.process.log_level.clone().or(file.process.log_level);
        file.process.log_format = self.process.log_format.or(file.process.log_format);
        file.namespace = self.namespace.clone().or(file.namespace);
        file.release = self.release.clone().or(file.release);
        file.lease_name = self.lease_name.clone().or(file.lease_name);
        file.identity = self.identity.clone().or(file.identity);
        file.control_period = self.control_period.or(file.control_period);
        file.router_period = self.router_period.or(file.router_period);
        if let Some(folder) = &self.decision_log {
            let max_megabytes = file.decision_log.map_or(DEFAULT_MEGABYTES, |log| log.max_megabytes);
            file.decision_log = Some(DecisionLogFolder { folder: folder.clone(), max_megabytes });
        }
        file
    }
}

impl ControllerConfig {
    /// Checks and completes the configuration. `host_name` is the identity when none is given.
    ///
    /// # Errors
    /// The key that is wrong, and the fix.
    pub fn settings(&self, args: &ProcessArgs, host_name: &str) -> anyhow::Result<ControllerSettings> {
        let period = |key: &str, value: Option<HumanDuration>, default: Duration| {
            let period = value.map_or(default, Duration::from);
            if period < Duration::from_millis(100) || period > Duration::from_secs(60) {
                bail!("{key}: {} is out of range; write 100ms to 1m", HumanDuration(period));
            }
            Ok(period)
        };
        let capacity_prior = self.capacity_prior.unwrap_or(DEFAULT_CAPACITY_PRIOR);
        if !(1.0..=10_000.0).contains(&capacity_prior) {
            bail!("capacityPrior: {capacity_prior} is out of range; write 1 to 10000 requests at once");
        }
        if let Some((name, _)) = self.pools.iter().find(|(name, pool)| pool.gpus == 0 || !is_name(name)) {
            bail!("pools.{name}: a pool has a name of lower-case letters, digits, `-` and `.`, and at least 1 GPU");
        }
        for (key, value) in
            [("namespace", &self.namespace), ("release", &self.release), ("leaseName", &self.lease_name)]
        {
            if value.as_deref().is_some_and(|value| !is_name(value)) {
                let value = value.as_deref().unwrap_or_default();
                bail!("{key}: `{value}` is no Kubernetes name; write lower-case letters, digits, `-` and `.`");
            }
        }
        if let Some(Err((key, problem))) = self.prometheus.as_ref().map(PrometheusConfig::check) {
            bail!("prometheus.{key}: {problem}");
        }
        if let Some(log) = &self.decision_log
            && !(1..=MOST_MEGABYTES).contains(&log.max_megabytes)
        {
            bail!("decisionLog.maxMegabytes: {} is out of range; write 1 to {MOST_MEGABYTES}", log.max_megabytes);
        }
        let identity = self.identity.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host_name.to_owned());
        Ok(ControllerSettings {
            process: args.settings(&self.process),
            namespace: self.namespace.clone(),
            release: self.release.clone(),
            lease_name: self.lease_name.clone().unwrap_or_else(|| DEFAULT_LEASE.to_owned()),
            identity,
            control_period: period("controlPeriod", self.control_period, Duration::from_secs(2))?,
            router_period: period("routerPeriod", self.router_period, Duration::from_secs(1))?,
            capacity_prior,
            pools: self.pools.clone(),
            prometheus: self.prometheus.clone(),
            decision_log: self.decision_log.clone(),
        })
    }
}

impl ControllerSettings {
    /// What applies, as a file: for `--print-config`.
    #[must_use]
    pub fn as_config(&self) -> ControllerConfig {
        ControllerConfig {
            process: ProcessConfig {
                admin_address: Some(self.process.admin_address),
                log_level: Some(self.process.log_level.clone()),
                log_format: Some(self.process.log_format),
            },
            namespace: self.namespace.clone(),
            release: self.release.clone(),
            lease_name: Some(self.lease_name.clone()),
            identity: Some(self.identity.clone()),
            control_period: Some(HumanDuration(self.control_period)),
            router_period: Some(HumanDuration(self.router_period)),
            capacity_prior: Some(self.capacity_prior),
            pools: self.pools.clone(),
            prometheus: self.prometheus.clone(),
            decision_log: self.decision_log.clone(),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str) -> Result<ControllerSettings, String> {
        let config: ControllerConfig = process::config::parse(file)?;
        config.settings(&ProcessArgs::default(), "host-1").map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_gets_the_documented_defaults() {
        let settings = settings("").expect("valid");
        assert_eq!((settings.control_period, settings.router_period), (Duration::from_secs(2), Duration::from_secs(1)));
        assert_eq!((settings.lease_name.as_str(), settings.identity.as_str()), (DEFAULT_LEASE, "host-1"));
    }

    #[test]
    fn bad_keys_and_values_are_named_with_the_fix() {
        for (file, expected) in [
            ("controlPeriod: 5ms\n", "controlPeriod: 5ms is out of range; write 100ms to 1m"),
            ("routerPeriod: 2h\n", "routerPeriod: 2h is out of range"),
            ("capacityPrior: 0\n", "capacityPrior: 0 is out of range; write 1 to 10000"),
            ("prometheus: {url: p}\n", "prometheus.url: `p` is not a URL; write http://HOST:PORT"),
            ("pools: {h100: {gpus: 0}}\n", "pools.h100: a pool has a name"),
            ("pools: {h100: {gpu: 8}}\n", "gpu"),
            ("leaseName: A_B\n", "leaseName: `A_B` is no Kubernetes name"),
            ("controlPerod: 2s\n", "controlPerod"),
            ("controlPeriod: 2\n", "250ms, 1s, 5m"),
            (
                "decisionLog: {folder: /log, maxMegabytes: 0}\n",
                "decisionLog.maxMegabytes: 0 is out of range; write 1 to",
            ),
        ] {
            let error = settings(file).expect_err("bad");
            assert!(error.contains(expected), "{file}→ {error}\nexpected {expected}");
        }
    }

    #[test]
    fn the_shipped_schema_is_fresh() {
        let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json"));
        assert!(
            shipped.is_ok_and(|text| text == process::config::schema_json::<ControllerConfig>()),
            "stale; run: cargo run -p autoscaler -- controller --print-config-schema > autoscaler/config.schema.json"
        );
    }
}
