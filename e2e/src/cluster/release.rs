use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Cluster, progress, repository};

/// How long a release may take until all its pods are Ready. Seconds on an idle machine; the tests share theirs.
const INSTALL_DEADLINE: &str = "150s";

/// A release of the chart in a namespace of its own.
#[derive(Debug)]
pub struct Release {
    cluster: Arc<Cluster>,
    /// Name of the release.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    values: tempfile::TempDir,
}

impl Release {
    /// A release that is installed already.
    ///
    /// # Errors
    /// If there is no room for a temporary folder.
    pub fn installed(cluster: &Arc<Cluster>, name: &str, namespace: &str) -> Result<Self> {
        let values = tempfile::tempdir()?;
        Ok(Self { cluster: Arc::clone(cluster), name: name.to_owned(), namespace: namespace.to_owned(), values })
    }

    /// `helm install` of the chart with the emulator's values and `values` (YAML) over them; returns when every pod is Ready.
    ///
    /// # Errors
    /// If helm fails; what the cluster says about the pods is in the error.
    pub async fn install(cluster: &Arc<Cluster>, name: &str, namespace: &str, values: &str) -> Result<Self> {
        let release = Self::installed(cluster, name, namespace)?;
        // A namespace left by an interrupted run would make helm refuse the name.
        drop(cluster.run("helm", &["uninstall", name, "-n", namespace], None).await);
        // Engines drain for minutes by design; nobody waits for these.
        drop(cluster.kubectl(&["delete", "pods", "--all", "-n", namespace, "--grace-period=1", "--wait=false"]).await);
        cluster.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"]).await?;
        release.helm("install", values, &["--create-namespace"]).await?;
        Ok(release)
    }

    /// `helm upgrade` with other values.
    ///
    /// # Errors
    /// If helm fails.
    pub async fn upgrade(&self, values: &str) -> Result<()> {
        self.helm("upgrade", values, &[]).await
    }

    async fn helm(&self, verb: &str, values: &str, more: &[&str]) -> Result<()> {
        let chart = repository().join("charts/vllm-prod-stack");
        let emulator = chart.join("values-emulator.yaml");
        let (common, own) = (repository().join("e2e/cluster/values.yaml"), self.values.path().join("values.yaml"));
        std::fs::write(&own, values)?;
        let paths = [&chart, &emulator, &common, &own].map(|path| path.to_string_lossy().into_owned());
        let mut arguments = vec![verb, &self.name, &paths[0], "-n", &self.namespace];
        for values in &paths[1..] {
            arguments.extend(["-f", values]);
        }
        arguments.extend(["--wait", "--timeout", INSTALL_DEADLINE]);
        arguments.extend(more);
        progress(&self.namespace, &format!("helm {verb}"));
        let outcome = self.cluster.run("helm", &arguments, None).await;
        if outcome.is_err() {
            self.print_diagnostics().await;
        }
        outcome.map(drop).with_context(|| format!("helm {verb} in namespace {}", self.namespace))
    }

    /// Removes release and namespace.
    ///
    /// # Errors
    /// If helm fails.
    pub async fn uninstall(&self) -> Result<()> {
        self.cluster.run("helm", &["uninstall", &self.name, "-n", &self.namespace], None).await?;
        // Engines drain for minutes by design; the tests need not see it.
        self.cluster
            .kubectl(&["delete", "pods", "--all", "-n", &self.namespace, "--grace-period=1", "--wait=false"])
            .await?;
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await.map(drop)
    }

    /// The path of a namespaced object in `apps/v1`.
    #[must_use]
    pub fn deployments(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace)
    }

    /// The path of the release's HPAs.
    #[must_use]
    pub fn hpas(&self) -> String {
        format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", self.namespace)
    }

    /// The path of the release's EngineAutoscalers.
    #[must_use]
    pub fn engine_autoscalers(&self) -> String {
        format!("/apis/autoscaling.vllm-prod-stack.io/v1alpha1/namespaces/{}/engineautoscalers", self.namespace)
    }

    /// All an engineer would look at first when a test fails.
    #[expect(clippy::print_stderr, reason = "diagnostics of a failed test belong on the terminal")]
    pub async fn print_diagnostics(&self) {
        let namespace = self.namespace.as_str();
        let commands: [&[&str]; 5] = [
            &["get", "deployments,pods,hpa,eas,services", "-o", "wide", "-n", namespace],
            &["describe", "hpa", "-n", namespace],
            &["get", "eas", "-o", "yaml", "-n", namespace],
            &["get", "events", "--sort-by=.lastTimestamp", "-n", namespace],
            &["get", "apiservice", "v1beta1.external.metrics.k8s.io", "-o", "yaml"],
        ];
        eprintln!("───── diagnostics of namespace {namespace} ─────");
        for command in commands {
            eprintln!("$ kubectl {}", command.join(" "));
            let outcome = self.cluster.kubectl(command).await.unwrap_or_else(|error| error.to_string());
            eprintln!("{}", tail(&outcome, 120));
        }
        for component in ["router", "autoscaler", "adapter", "serving-engine"] {
            let selector = format!("app.kubernetes.io/component={component}");
            let command = [
                "logs",
                "-n",
                namespace,
                "-l",
                &selector,
                "--tail=40",
                "--prefix",
                "--ignore-errors",
                "--all-containers",
            ];
            eprintln!("$ kubectl {}", command.join(" "));
            let outcome = tokio::time::timeout(Duration::from_secs(20), self.cluster.kubectl(&command)).await;
            eprintln!(
                "{}",
                outcome.map_or_else(|_| "timed out".to_owned(), |logs| logs.unwrap_or_else(|error| error.to_string()))
            );
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
