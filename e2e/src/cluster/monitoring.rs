use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::eventually;

use super::{Cluster, progress, repository};

/// Namespace of the cluster's Prometheus.
const NAMESPACE: &str = "e2e-monitoring";

/// A real Prometheus in the cluster that finds pods by itself and evaluates the project's rules.
#[derive(Debug)]
pub struct Monitoring {
    cluster: Arc<Cluster>,
}

impl Monitoring {
    /// One that is installed already.
    #[must_use]
    pub fn installed(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: Arc::clone(cluster) }
    }

    /// Installs it, with the recording and alerting rules of `dashboards/`.
    ///
    /// # Errors
    /// If it does not become Ready.
    pub async fn install(cluster: &Arc<Cluster>) -> Result<Self> {
        let monitoring = Self::installed(cluster);
        // What an earlier run left may still be going away.
        cluster.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"]).await?;
        let manifest = std::fs::read_to_string(repository().join("e2e/cluster/prometheus.yaml"))?;
        cluster.apply(NAMESPACE, &manifest).await?;
        let rules = repository().join("dashboards/rules").to_string_lossy().into_owned();
        let from = format!("--from-file={rules}");
        let create =
            ["create", "configmap", "prometheus-rules", &from, "-n", NAMESPACE, "--dry-run=client", "-o", "yaml"];
        let rules = cluster.kubectl(&create).await?;
        cluster.apply(NAMESPACE, &rules).await?;
        monitoring.ready().await?;
        Ok(monitoring)
    }

    /// Ends it; returns when it answers no more.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn stop(&self) -> Result<()> {
        progress(NAMESPACE, "Prometheus stops");
        self.scale("0").await?;
        self.cluster
            .kubectl(&["wait", "--for=delete", "pod", "-l", "app=prometheus", "-n", NAMESPACE, "--timeout=60s"])
            .await
            .map(drop)
    }

    /// Starts it again, with empty storage; returns when it answers.
    ///
    /// # Errors
    /// If it does not become Ready.
    pub async fn start(&self) -> Result<()> {
        progress(NAMESPACE, "Prometheus starts");
        self.scale("1").await?;
        self.ready().await
    }

    /// The result of an instant query: one JSON object `{metric, value}` a series.
    ///
    /// # Errors
    /// If Prometheus refuses the query or does not answer.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/prometheus:9090/proxy/api/v1/query");
        let (status, body) = self.cluster.fetch(&path, &[("query", expression)]).await?;
        let answer: Value =
            serde_json::from_str(&body).with_context(|| format!("Prometheus answered {status}: {body}"))?;
        if answer["status"] != "success" {
            bail!("Prometheus refuses `{expression}`: {}", answer["error"]);
        }
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// The only value of a query.
    ///
    /// # Errors
    /// If there is none.
    pub async fn value(&self, expression: &str) -> Result<f64> {
        let result = self.query(expression).await?;
        let sample = result.first().with_context(|| format!("`{expression}` has no result"))?;
        sample["value"][1].as_str().context("a sample has a value")?.parse().context("a sample is a number")
    }

    async fn scale(&self, replicas: &str) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.cluster.kubectl(&["scale", "deployment/prometheus", &replicas, "-n", NAMESPACE]).await.map(drop)
    }

    async fn ready(&self) -> Result<()> {
        self.cluster.kubectl(&["rollout", "status", "deployment/prometheus", "-n", NAMESPACE, "--timeout=90s"]).await?;
        eventually(Duration::from_secs(30), "an answer from Prometheus", || self.query("vector(1)")).await.map(drop)
    }
}
