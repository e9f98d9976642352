//! Prometheus as a source: one query per rule, and one for the targets.

use std::path::PathBuf;
use std::time::Duration;

use adapter_core::series::{Series, Target};
use adapter_core::{Component, Rule};
use jiff::SignedDuration;
use prometheus::{Client, Options, QueryError};
use tokio::time::Instant;

use super::PROMETHEUS;
use crate::config::file::{PartialAnswers, Prometheus};
use crate::metrics::Metrics;

/// Series of one answer that are kept; more is a query without aggregation.
const MAX_SERIES: usize = 50_000;

/// A query that did not give a usable answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// A bounded word for metric labels.
    pub reason: &'static str,
    /// What failed, for people.
    pub message: String,
}

/// What Prometheus scrapes.
#[derive(Debug, Default)]
pub struct Scraped {
    /// The targets and how their last scrape went.
    pub targets: Vec<Target>,
}

/// A Prometheus.
#[derive(Debug)]
pub struct PrometheusSource {
    client: Client,
    partial_answers: PartialAnswers,
}

impl PrometheusSource {
    /// Prepares the client; nothing is sent.
    ///
    /// # Errors
    /// If the section of the configuration file cannot be used.
    pub fn new(config: &Prometheus) -> anyhow::Result<Self> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| anyhow::anyhow!("prometheus.caFile: read {}: {error}", path.display()))
        };
        let ca_pem = config.ca_file.as_ref().map(read).transpose()?;
        let client = Client::new(&Options {
            url: config.url.clone(),
            timeout: config.timeout.0,
            headers: config.headers.clone().into_iter().collect(),
            ca_pem,
            bearer_token_file: config.bearer_token_file.clone(),
        })?;
        Ok(Self { client, partial_answers: config.partial_answers })
    }

    /// Which targets are scraped, and how long ago.
    ///
    /// # Errors
    /// If there is no usable answer.
    pub async fn scraped(&self, metrics: &Metrics) -> Result<Scraped, Failed> {
        let series = self.ask(&adapter_core::promql::targets(), metrics).await?;
        let now = process::clock::now();
        let targets = series.iter().filter_map(|series| {
            let component = Component::from_label(series.label("component"))?;
            let pod = series.label("pod");
            let age = SignedDuration::try_from(Duration::try_from_secs_f64(series.value.max(0.0)).ok()?).ok()?;
            Some(Target {
                component,
                namespace: series.label("namespace").to_owned(),
                model: series.label("model").to_owned(),
                name: if pod.is_empty() { series.label("instance") } else { pod }.to_owned(),
                sampled_at: (series.label("scrape") == "ok").then(|| now - age),
            })
        });
        Ok(Scraped { targets: targets.collect() })
    }

    /// The rule's values.
    ///
    /// # Errors
    /// If there is no usable answer.
    pub async fn series(&self, rule: &Rule, metrics: &Metrics) -> Result<Vec<Series>, Failed> {
        self.ask(&rule.promql(), metrics).await
    }

    async fn ask(&self, promql: &str, metrics: &Metrics) -> Result<Vec<Series>, Failed> {
        let started = Instant::now();
        let answer = self.client.query(promql).await;
        let outcome = answer.as_ref().map_or_else(QueryError::reason, |_| "good");
        metrics.asked(PROMETHEUS, outcome, started.elapsed());
        let answer = answer.map_err(|error| Failed { reason: error.reason(), message: error.to_string() })?;
        if let Some(warning) = answer.warnings.first()
            && self.partial_answers == PartialAnswers::Refuse
        {
            let message =
                format!("the answer may be incomplete: {warning} (prometheus.partialAnswers: accept takes it)");
            return Err(Failed { reason: "partial", message });
        }
        if answer.series.len() > MAX_SERIES {
            let message = format!("{} series, the most is {MAX_SERIES}: aggregate in the query", answer.series.len());
            return Err(Failed { reason: "too_many_series", message });
        }
        let series = answer.series.into_iter().map(|series| Series { labels: series.labels, value: series.value });
        Ok(series.collect())
    }
}
