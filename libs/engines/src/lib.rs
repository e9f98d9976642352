//! What an engine is, for all programs that look at one.
//!
//! ```text
//! pods (watch) ──▶ discover ──▶ Engine { id, url, model, state }
//! engines.json ──▶ handover ──┘        │ url
//!                                      ▼
//!                       scrape ──▶ exposition ──▶ metrics (absent, zero and stale stay apart)
//! ```
//!
//! Used by `adapter`, `autoscaler` and `router`. Deliberately absent: any opinion on what the numbers mean.

pub mod discover;
pub mod exposition;
pub mod handover;
pub mod metrics;
pub mod scrape;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether requests may be sent to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineState {
    /// Exists, is not ready yet.
    Starting,
    /// Takes requests.
    Ready,
    /// Finishes what it has and takes nothing new.
    Draining,
}

/// One engine: a vLLM server behind one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// `namespace/pod` in a cluster; any stable text elsewhere.
    pub id: String,
    /// Kubernetes namespace; empty outside a cluster.
    pub namespace: String,
    /// Base URL without a trailing slash, such as `http://10.0.0.7:8000`.
    pub url: String,
    /// Value of the `model` label: `modelSpec[].name`, not the served name.
    pub model: String,
    /// Whether requests may be sent to it.
    pub state: EngineState,
    /// When it was created (ordered), if known.
    pub created_at: Option<Timestamp>,
    /// Since when it is ready, if it is and that is known.
    pub ready_since: Option<Timestamp>,
    /// When a machine was found for it, if known.
    pub scheduled_at: Option<Timestamp>,
    /// When the last of its containers first started, its image being there; unknown once one was restarted.
    pub containers_started_at: Option<Timestamp>,
    /// Labels of the pod; empty outside a cluster.
    pub labels: Arc<BTreeMap<String, String>>,
}
