//! Keys of the Prometheus that the past is read from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use process::duration::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Prometheus that keeps the router's metrics: what arrived in the last seven seasons is read from it at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrometheusConfig {
    /// Base URL, such as http://prometheus.monitoring.svc:9090, with its path prefix if it has one.
    pub url: String,
    /// Limit of one question, 1s to 5m; the past of a week takes a dozen.
    #[serde(default = "timeout")]
    pub timeout: HumanDuration,
    /// Headers of every question, such as a tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// File with a bearer token; read again for each question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// File with the CA of an https URL; the system's CAs otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Arrivals are averaged over this, 1s to 1h: at least four times the interval at which Prometheus scrapes the routers.
    #[serde(default = "window")]
    pub window: HumanDuration,
    /// PromQL of a model's arrivals a second, with `$model`, `$namespace` and `$window` filled in. Default: what routers
    /// received, by the labels `model_name` and, in a cluster, `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<String>,
}

/// A week in pieces of half a day takes a loaded Prometheus seconds each.
fn timeout() -> HumanDuration {
    HumanDuration::from_secs(30)
}

/// Four scrapes of 15 s, the interval that most use.
fn window() -> HumanDuration {
    HumanDuration::from_secs(60)
}

impl PrometheusConfig {
    /// The default for everything but the URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            timeout: timeout(),
            headers: BTreeMap::new(),
            bearer_token_file: None,
            ca_file: None,
            window: window(),
            arrivals: None,
        }
    }

    /// Checks what can be checked without asking.
    ///
    /// # Errors
    /// The key below `prometheus` and what to write instead.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let between = |value: HumanDuration, least: u64, most: u64| {
            (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&value.0)
        };
        prometheus::check_url(&self.url).map_err(|error| ("url", error.to_string()))?;
        if !between(self.timeout, 1, 300) {
            return Err(("timeout", format!("{} is out of range; write 1s to 5m", self.timeout)));
        }
        if !between(self.window, 1, 3600) {
            return Err(("window", format!("{} is out of range; write 1s to 1h", self.window)));
        }
        if let Some(query) = &self.arrivals {
            let filled = super::source::filled(query, "model", "namespace", self.window.0);
            if let Err(error) = prometheus::check_promql(&filled) {
                return Err(("arrivals", format!("{error}; write a query such as {}", super::source::ARRIVALS)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_enough_and_bad_keys_are_named_with_the_fix() {
        let checked = |text: &str| {
            let config: PrometheusConfig = process::config::parse(text)?;
            config.check().map_err(|(key, problem)| format!("{key}: {problem}"))
        };
        assert_eq!(checked("url: http://localhost:9090\n"), Ok(()));
        for (text, expected) in [
            (
                "url: localhost:9090\n",
                "url: `localhost:9090` must begin with http:// or https://; write http://HOST:PORT",
            ),
            ("url: http://me:secret@p\n", "url: the URL holds credentials"),
            ("url: http://p\ntimeout: 0s\n", "timeout: 0s is out of range; write 1s to 5m"),
            ("url: http://p\nwindow: 2h\n", "window: 2h is out of range; write 1s to 1h"),
            ("url: http://p\narrivals: sum(\n", "arrivals: not PromQL"),
            ("url: http://p\narrivals: 'x[$window]'\n", "arrivals: the query gives a range of samples"),
            ("timeout: 3s\n", "url"),
            ("url: http://p\nurls: 3s\n", "urls"),
        ] {
            let error = checked(text).expect_err("bad");
            assert!(error.contains(expected), "{text}→ {error}\nexpected {expected}");
        }
    }
}
