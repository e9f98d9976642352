//! The configuration file as people write it. `super::Config` is what it means, checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use adapter_core::rule::{Aggregate, Component, Missing, Multiple};
use process::args::ProcessConfig;
use process::config::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of the adapter. Every key has a default; an unknown key is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ConfigFile {
    /// Logs and admin server. Needs a restart.
    pub process: ProcessConfig,
    /// The API port. Needs a restart.
    pub server: Server,
    /// The Prometheus that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// Engines, routers and autoscaler, read without Prometheus. Needs a restart.
    pub direct: Direct,
    /// Which source is asked, and which one steps in when it fails. Needs a restart.
    pub sources: Sources,
    /// Times of the default rules, and of rules that do not say their own.
    pub timing: TimingFile,
    /// Whether the default rules are served.
    #[serde(default = "yes")]
    #[schemars(default = "yes")]
    pub default_rules: DefaultRules,
    /// Rules of your own. One with the name of a default rule replaces it.
    pub rules: Vec<RuleFile>,
}

fn yes() -> DefaultRules {
    DefaultRules(true)
}

/// A switch that is on unless the file turns it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DefaultRules(pub bool);

impl Default for DefaultRules {
    fn default() -> Self {
        yes()
    }
}

/// The API port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Server {
    /// Address of the API. With `authentication: none` it must be a loopback address.
    pub address: SocketAddr,
    /// How callers are identified.
    pub authentication: Authentication,
    /// The serving certificate. Needed unless `authentication: none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// APIService objects whose `caBundle` receives the CA of a self-managed certificate.
    pub api_services: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 6443)),
            authentication: Authentication::Kubernetes,
            certificate: None,
            api_services: Vec::new(),
        }
    }
}

/// How callers are identified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Authentication {
    /// As any Kubernetes API server does: front proxy, client certificate, bearer token; then SubjectAccessReview.
    #[default]
    Kubernetes,
    /// Nobody is asked: plain HTTP on a loopback address, for one host without Kubernetes.
    None,
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Certificate {
    /// Made, renewed and shared among replicas by the adapter itself.
    SelfManaged(SelfManaged),
    /// Files that something else renews, such as cert-manager; read again when they change.
    Files(CertificateFiles),
}

/// A certificate that the adapter makes and keeps in one Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SelfManaged {
    /// Namespace of the Secret and of the Service. Default: the environment variable POD_NAMESPACE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Secret that the replicas share.
    pub secret: String,
    /// Name of the Service in front of the adapter: the certificate is made out to SERVICE.NAMESPACE.svc.
    pub service: String,
}

/// Certificate files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The Prometheus that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Prometheus {
    /// Base URL, such as http://prometheus.monitoring.svc:9090, with its path prefix if it has one.
    pub url: String,
    /// Limit of one query.
    #[serde(default = "three_seconds")]
    pub timeout: Duration,
    /// How often Prometheus scrapes the engines: an engine that is Ready for more than two of these and 5 s, at least
    /// 15 s, and not scraped is an error.
    #[serde(default = "five_seconds")]
    pub scrape_interval: Duration,
    /// Headers of every query, such as a tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// File with a bearer token; read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// File with the CA of an https URL; the system's CAs otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What an answer with warnings means: Thanos and Mimir say so when a part of the data is missing.
    #[serde(default)]
    pub partial_answers: PartialAnswers,
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

/// What an answer with warnings means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PartialAnswers {
    /// A failed collection: a part of the load may be missing.
    #[default]
    Refuse,
    /// Used, and counted.
    Accept,
}

/// Targets that are read without Prometheus. In a cluster they are found by their labels; the lists are for elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Direct {
    /// Time between two scrapes of a target. Scrapes cost vLLM's Python front end; less than 1 s is refused.
    pub scrape_interval: Duration,
    /// Limit of one scrape.
    pub timeout: Duration,
    /// Namespace under which targets of the lists below are served.
    pub namespace: String,
    /// The list of engines that a standalone autoscaler writes (`engines.json`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engines_file: Option<PathBuf>,
    /// Engines at fixed addresses.
    pub engines: Vec<StaticEngine>,
    /// Admin addresses of routers, such as http://127.0.0.1:9101.
    pub routers: Vec<String>,
    /// Admin addresses of autoscalers, such as http://127.0.0.1:9102.
    pub autoscalers: Vec<String>,
}

impl Default for Direct {
    fn default() -> Self {
        Self {
            scrape_interval: five_seconds(),
            timeout: Duration::from_secs(2),
            namespace: "default".to_owned(),
            engines_file: None,
            engines: Vec::new(),
            routers: Vec::new(),
            autoscalers: Vec::new(),
        }
    }
}

/// An engine at a fixed address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StaticEngine {
    /// Base URL, such as http://127.0.0.1:18001.
    pub url: String,
    /// The model that HPAs select.
    pub model: String,
}

/// Which source is asked, and which one steps in when it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Sources {
    /// The source that is asked. `auto`: Prometheus if `prometheus.url` is set, else the targets themselves.
    pub primary: Primary,
    /// Whether the other source answers a rule while the primary one fails.
    pub backup: bool,
}

/// The source that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Primary {
    /// Prometheus if `prometheus.url` is set, else the targets themselves.
    #[default]
    Auto,
    /// Prometheus.
    Prometheus,
    /// The targets themselves.
    Direct,
}

/// Times of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TimingFile {
    /// Time between two collections of a rule; default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How far rates and quantiles of the default rules look back; default 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// Values sampled longer ago do not answer; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// A rule of your own: exactly one of `promql` and `measure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleFile {
    /// The metric name that HPA asks for: lower-case letters, digits and `_`.
    pub name: String,
    /// A query for all namespaces at once; its series must carry the label `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promql: Option<String>,
    /// A measurement that Prometheus and direct scraping can both answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<MeasureFile>,
    /// Time between two collections; default `timing.interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Values sampled longer ago do not answer; default `timing.maxAge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// What a missing value means.
    #[serde(default)]
    pub missing: Missing,
    /// What is answered when a selector matches several values.
    #[serde(default)]
    pub multiple: Multiple,
}

/// A measurement per namespace and model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MeasureFile {
    /// Names of the metric that mean the same; the first that a target shows counts.
    pub metrics: Vec<String>,
    /// Whose metric it is.
    pub component: Component,
    /// How the series of one model become one value.
    pub aggregate: Aggregate,
    /// Increase per second of a counter over this window, instead of the value of a gauge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_window: Option<Duration>,
    /// Quantile (0 to 1) of a histogram over `rateWindow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
}
