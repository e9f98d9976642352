//! Configuration behind the edge: what the file means, checked as a whole.
//!
//! A bad rule is reported with its name and left out; it never hides the others. Everything else that is wrong refuses
//! the file, so that at start the process ends and at reload the last good configuration stays.

pub mod file;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use adapter_core::defaults::{self, Timing};
use adapter_core::rule::{Component, Expression, Function, Measure, Rule};

use self::file::{Authentication, Certificate, ConfigFile, MeasureFile, Primary, RuleFile};

/// Something in the file that cannot be used: where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Problem {
    /// Key path in the file, such as `rules[2] (my_metric).promql`.
    pub place: String,
    /// What is wrong and how to make it right.
    pub problem: String,
}

fn problem(place: impl Into<String>, problem: impl Into<String>) -> Problem {
    Problem { place: place.into(), problem: problem.into() }
}

/// The configuration file as it applies.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file with every default filled in.
    pub file: ConfigFile,
    /// Rules that are collected and served, by name.
    pub rules: Vec<Rule>,
    /// Rules that cannot be used, and why.
    pub rejected: Vec<Problem>,
    /// Namespace of the adapter, of its Secret and its Service; none outside a cluster.
    pub own_namespace: Option<String>,
}

/// Collecting more often than this finds nothing new and costs the source.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);
/// Rules beyond this would be a template gone wrong.
const MAX_RULES: usize = 1_000;

impl Config {
    /// Checks a file. `pod_namespace` is what the environment says.
    pub fn new(file: ConfigFile, pod_namespace: Option<String>) -> Result<Self, Problem> {
        let own_namespace = own_namespace(&file, pod_namespace)?;
        check_server(&file)?;
        check_sources(&file)?;
        let timing = timing(&file)?;
        let (rules, rejected) = rules(&file, &timing)?;
        Ok(Self { file, rules, rejected, own_namespace })
    }

    /// The source that is asked first.
    pub fn primary_is_prometheus(&self) -> bool {
        match self.file.sources.primary {
            Primary::Auto => self.file.prometheus.is_some(),
            Primary::Prometheus => true,
            Primary::Direct => false,
        }
    }

    /// Whether there is a Kubernetes to talk to.
    pub fn is_in_cluster(&self) -> bool {
        self.file.server.authentication == Authentication::Kubernetes
    }

    /// How often engines are scraped by the primary source.
    pub fn scrape_interval(&self) -> Duration {
        match (&self.file.prometheus, self.primary_is_prometheus()) {
            (Some(prometheus), true) => prometheus.scrape_interval.0,
            (Some(_) | None, _) => self.file.direct.scrape_interval.0,
        }
    }

    /// Files whose change means a new configuration or certificate.
    pub fn certificate_files(&self) -> Option<(PathBuf, PathBuf)> {
        match &self.file.server.certificate {
            Some(Certificate::Files(files)) => Some((files.certificate.clone(), files.key.clone())),
            Some(Certificate::SelfManaged(_)) | None => None,
        }
    }
}

fn own_namespace(file: &ConfigFile, pod_namespace: Option<String>) -> Result<Option<String>, Problem> {
    match &file.server.certificate {
        Some(Certificate::SelfManaged(own)) => match own.namespace.clone().or(pod_namespace) {
            Some(namespace) => Ok(Some(namespace)),
            None => Err(problem(
                "server.certificate.selfManaged.namespace",
                "is not set, and neither is the environment variable POD_NAMESPACE: set one to the namespace of the Service",
            )),
        },
        Some(Certificate::Files(_)) | None => Ok(pod_namespace),
    }
}

fn check_server(file: &ConfigFile) -> Result<(), Problem> {
    let server = &file.server;
    match server.authentication {
        Authentication::None if !server.address.ip().is_loopback() => Err(problem(
            "server.address",
            format!(
                "`authentication: none` answers everybody, so it listens on loopback only: {} is not; use 127.0.0.1:{} or `authentication: kubernetes`",
                server.address,
                server.address.port()
            ),
        )),
        Authentication::None if server.certificate.is_some() => Err(problem(
            "server.certificate",
            "`authentication: none` speaks plain HTTP: remove the certificate, or use `authentication: kubernetes`",
        )),
        Authentication::Kubernetes if server.certificate.is_none() => Err(problem(
            "server.certificate",
            "is missing: kube-apiserver talks TLS only; set `selfManaged: {secret, service}` or `files: {certificate, key}`, or use `authentication: none` on one host without Kubernetes",
        )),
        Authentication::None | Authentication::Kubernetes => Ok(()),
    }
}

fn check_sources(file: &ConfigFile) -> Result<(), Problem> {
    let needs_prometheus = file.sources.primary == Primary::Prometheus || file.sources.backup;
    if needs_prometheus && file.prometheus.is_none() {
        return Err(problem(
            "prometheus.url",
            "is missing, and `sources` names Prometheus: set it, or change `sources`",
        ));
    }
    if let Some(prometheus) = &file.prometheus {
        check_url("prometheus.url", &prometheus.url)?;
        at_least("prometheus.timeout", prometheus.timeout.0, Duration::from_millis(100))?;
        at_least("prometheus.scrapeInterval", prometheus.scrape_interval.0, SHORTEST_INTERVAL)?;
    }
    let direct = &file.direct;
    // In standalone the engines are few and run faster than life; in a cluster a second is the design's limit.
    let shortest = match file.server.authentication {
        Authentication::None => SHORTEST_INTERVAL,
        Authentication::Kubernetes => Duration::from_secs(1),
    };
    at_least("direct.scrapeInterval", direct.scrape_interval.0, shortest)?;
    at_least("direct.timeout", direct.timeout.0, Duration::from_millis(50))?;
    for (index, engine) in direct.engines.iter().enumerate() {
        check_url(&format!("direct.engines[{index}].url"), &engine.url)?;
    }
    for (index, url) in direct.routers.iter().enumerate() {
        check_url(&format!("direct.routers[{index}]"), url)?;
    }
    for (index, url) in direct.autoscalers.iter().enumerate() {
        check_url(&format!("direct.autoscalers[{index}]"), url)?;
    }
    Ok(())
}

fn check_url(place: &str, url: &str) -> Result<(), Problem> {
    prometheus::check_url(url).map_err(|error| problem(place, error.to_string()))
}

fn at_least(place: &str, value: Duration, least: Duration) -> Result<(), Problem> {
    if value >= least {
        return Ok(());
    }
    Err(problem(place, format!("{value:?} is too short, the least is {least:?}")))
}

fn timing(file: &ConfigFile) -> Result<Timing, Problem> {
    let default = Timing::default();
    let timing = Timing {
        interval: file.timing.interval.map_or(default.interval, |interval| interval.0),
        window: file.timing.window.map_or(default.window, |window| window.0),
        max_age: file.timing.max_age.map_or(default.max_age, |age| age.0),
    };
    at_least("timing.interval", timing.interval, SHORTEST_INTERVAL)?;
    at_least("timing.window", timing.window, Duration::from_secs(1))?;
    at_least("timing.maxAge", timing.max_age, timing.interval)?;
    // A rate needs two samples in its window; with fewer it would be missing, and missing traffic reads as none.
    let scrape = file.prometheus.as_ref().map_or(file.direct.scrape_interval.0, |source| source.scrape_interval.0);
    if timing.window < scrape * 2 {
        let text = format!("{:?} holds less than two scrapes of {scrape:?}: make it longer", timing.window);
        return Err(problem("timing.window", text));
    }
    Ok(timing)
}

fn rules(file: &ConfigFile, timing: &Timing) -> Result<(Vec<Rule>, Vec<Problem>), Problem> {
    if file.rules.len() > MAX_RULES {
        return Err(problem("rules", format!("{} rules, the most is {MAX_RULES}", file.rules.len())));
    }
    let mut rejected = Vec::new();
    let mut own: Vec<Rule> = Vec::new();
    let mut names = BTreeSet::new();
    for (index, raw) in file.rules.iter().enumerate() {
        let place = format!("rules[{index}] ({})", raw.name);
        match rule(raw, timing, &place) {
            Ok(_) if !names.insert(raw.name.clone()) => {
                rejected.push(problem(format!("{place}.name"), "is there twice: the first one is used; rename one"));
            }
            Ok(rule) => own.push(rule),
            Err(problem) => rejected.push(problem),
        }
    }
    let mut rules = own;
    if file.default_rules.0 {
        rules.extend(defaults::rules(timing).into_iter().filter(|rule| !names.contains(&rule.name)));
    }
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((rules, rejected))
}

fn rule(raw: &RuleFile, timing: &Timing, place: &str) -> Result<Rule, Problem> {
    check_name(&raw.name, place)?;
    let interval = raw.interval.map_or(timing.interval, |interval| interval.0);
    let max_age = raw.max_age.map_or(timing.max_age, |age| age.0);
    at_least(&format!("{place}.interval"), interval, SHORTEST_INTERVAL)?;
    at_least(&format!("{place}.maxAge"), max_age, interval)?;
    let expression = match (&raw.promql, &raw.measure) {
        (Some(query), None) => {
            prometheus::check_promql(query).map_err(|error| problem(format!("{place}.promql"), error.to_string()))?;
            Expression::Promql(query.clone())
        }
        (None, Some(raw)) => Expression::FirstOf(vec![measure(raw, &format!("{place}.measure"))?]),
        (Some(_), Some(_)) => return Err(problem(place, "has both `promql` and `measure`: keep one")),
        (None, None) => return Err(problem(place, "has neither `promql` nor `measure`: write one")),
    };
    Ok(Rule { name: raw.name.clone(), expression, interval, max_age, missing: raw.missing, multiple: raw.multiple })
}

fn check_name(name: &str, place: &str) -> Result<(), Problem> {
    let has_good_letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b));
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let place = format!("{place}.name");
    if !has_good_letters || !starts_well || name.len() > 200 {
        return Err(problem(place, "must be lower-case letters, digits, `_`, `-`, `.`, and begin with a letter"));
    }
    // kube-apiserver reads these as subresources of the namespace, not as metrics.
    if name == "status" || name == "finalize" {
        return Err(problem(
            place,
            format!("`{name}` is a subresource of namespaces in Kubernetes: choose another name"),
        ));
    }
    Ok(())
}

fn measure(raw: &MeasureFile, place: &str) -> Result<Measure, Problem> {
    let is_metric = |name: &String| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if raw.metrics.is_empty() || !raw.metrics.iter().all(is_metric) {
        return Err(problem(format!("{place}.metrics"), "must list metric names such as vllm:num_requests_waiting"));
    }
    let window = raw.rate_window.map(|window| window.0);
    if let Some(window) = window {
        at_least(&format!("{place}.rateWindow"), window, Duration::from_secs(1))?;
    }
    let function = match (raw.quantile, window) {
        (None, None) => Function::Value,
        (None, Some(window)) => Function::Rate { window },
        (Some(quantile), Some(window)) if (0.0..=1.0).contains(&quantile) => Function::Quantile { quantile, window },
        (Some(_), Some(_)) => return Err(problem(format!("{place}.quantile"), "must lie between 0 and 1")),
        (Some(_), None) => {
            return Err(problem(format!("{place}.rateWindow"), "is needed for a quantile, for example 1m"));
        }
    };
    Ok(Measure {
        metrics: raw.metrics.clone(),
        component: raw.component,
        function,
        aggregate: raw.aggregate,
        is_split_by_served_name: raw.component == Component::Router,
        labels: std::collections::BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests;
