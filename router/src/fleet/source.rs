//! Where the list of engines comes from: the configuration, a file, or Kubernetes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engines::discover::{PodScope, watch_pods};
use engines::handover::{Handover, ServedObjective};
use engines::{Engine, EngineState};
use tokio::sync::watch;

use crate::config::{KubernetesConfig, Source};
use crate::engine_url::{EngineUrl, EngineUrlError};
use crate::metrics::Metrics;

/// How often the engines file is looked at: half of the 200 ms within which a change has to be picked up.
const FILE_INTERVAL: Duration = Duration::from_millis(100);

/// A list of engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Grows with every list.
    pub generation: u64,
    /// The engines.
    pub engines: Vec<ListedEngine>,
    /// What users were promised, by served name.
    pub objectives: BTreeMap<String, ServedObjective>,
}

/// One engine of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedEngine {
    /// Its name.
    pub id: Arc<str>,
    /// Where it is.
    pub url: EngineUrl,
    /// Value of its `model` label.
    pub model: String,
    /// Whether it may get requests.
    pub state: EngineState,
}

/// Publishes the list whenever it changes; the last good one stays while there is none better.
///
/// # Errors
/// If Kubernetes is the source and cannot be reached at all.
pub async fn follow(
    source: Source,
    metrics: Metrics,
    listed: watch::Sender<Option<Arc<Listed>>>,
) -> anyhow::Result<()> {
    match source {
        Source::Fixed(urls) => {
            metrics.engines_list_good.set(1);
            listed.send_replace(Some(Arc::new(fixed(urls))));
            std::future::pending::<()>().await;
        }
        Source::File(path) => follow_file(&path, &metrics, &listed).await,
        Source::Kubernetes(scope) => follow_pods(scope, &metrics, &listed).await?,
    }
    Ok(())
}

fn fixed(urls: Vec<EngineUrl>) -> Listed {
    let engine = |url: EngineUrl| ListedEngine {
        id: url.authority.as_str().into(),
        url,
        model: String::new(),
        state: EngineState::Ready,
    };
    Listed { generation: 1, engines: urls.into_iter().map(engine).collect(), objectives: BTreeMap::new() }
}

async fn follow_file(path: &Path, metrics: &Metrics, listed: &watch::Sender<Option<Arc<Listed>>>) {
    let mut applied = None;
    let mut complaint = String::new();
    let mut interval = tokio::time::interval(FILE_INTERVAL);
    loop {
        interval.tick().await;
        // A replaced file has another inode, an edited one another time or size.
        let stamp = std::fs::metadata(path).ok().map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.len()));
        if stamp.is_some() && stamp == applied {
            continue;
        }
        match read_file(path) {
            Ok(list) => {
                applied = stamp;
                complaint.clear();
                metrics.engines_list_good.set(1);
                listed.send_replace(Some(Arc::new(list)));
            }
            Err(error) => {
                metrics.engines_list_good.set(0);
                let text = format!("{error:#}");
                if text != complaint {
                    tracing::warn!(error = %text, "the list of engines cannot be used, the last good one stays");
                    complaint = text;
                }
            }
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Listed> {
    let list = Handover::read(path)?;
    let engine = |engine: engines::handover::HandoverEngine| {
        let url = engine.url.parse::<EngineUrl>()?;
        Ok::<_, EngineUrlError>(ListedEngine { id: engine.id.into(), url, model: engine.model, state: engine.state })
    };
    let engines: Result<Vec<ListedEngine>, _> = list.engines.into_iter().map(engine).collect();
    Ok(Listed {
        generation: list.generation,
        engines: engines.with_context(|| format!("engines file {}", path.display()))?,
        objectives: list.objectives,
    })
}

async fn follow_pods(
    scope: KubernetesConfig,
    metrics: &Metrics,
    listed: &watch::Sender<Option<Arc<Listed>>>,
) -> anyhow::Result<()> {
    let client = kube::Client::try_default().await.context(
        "no access to Kubernetes: run in a pod with a service account or with KUBECONFIG, or name engines another way",
    )?;
    let namespace = scope.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    tracing::info!(namespace, release = scope.release.as_deref(), "watching engine pods");
    let scope = PodScope::engines(Some(namespace), scope.release.as_deref());
    let (mut pods, watching) = watch_pods(client, scope);
    let publishing = async {
        let mut generation = 0;
        loop {
            if let Some(list) = pods.borrow_and_update().clone() {
                generation += 1;
                metrics.engines_list_good.set(1);
                let engines = list.iter().filter_map(from_pod).collect();
                listed.send_replace(Some(Arc::new(Listed { generation, engines, objectives: BTreeMap::new() })));
            }
            if pods.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(watching, publishing);
    anyhow::bail!("the watch of engine pods ended")
}

fn from_pod(engine: &Engine) -> Option<ListedEngine> {
    // A pod that is still without an address has no place to send requests to.
    let url = engine.url.parse().ok()?;
    Some(ListedEngine { id: engine.id.as_str().into(), url, model: engine.model.clone(), state: engine.state })
}
