//! What the tests on a Kubernetes cluster are written with.
//!
//! ```text
//! Cluster (kubectl, its proxy) ─▶ Release (helm install … uninstall) ─▶ History (every state an object went through)
//!                              │                                     └▶ EngineLives (which engine lived from when to when)
//!                              └▶ Monitoring (a Prometheus in the cluster: query, stop, start)
//! ```
//!
//! Everything is seen and done as an operator would: `helm`, `kubectl`, the Kubernetes API, PromQL, requests to the
//! router's Service. Nothing here knows which cluster it is: the one that `e2e/cluster/cluster.sh` starts, or another one
//! whose kubeconfig is in `E2E_KUBECONFIG` and whose nodes have the images.

mod api;
mod clients;
mod history;
mod lives;
mod monitoring;
mod release;
pub mod stack;
mod watch;

pub use api::{Cluster, conditions, replicas};
pub use clients::{Answers, Clients};
pub use history::{History, Seen};
pub use lives::{EngineLives, Life, engine_seconds, present, starts};
pub use monitoring::Monitoring;
pub use release::Release;

use std::path::PathBuf;

use anyhow::Result;
use tokio::task::JoinHandle;

/// Ends a task that watches for something wrong, and says what it found.
///
/// # Errors
/// What the task ended with before this.
pub async fn end_watch(task: JoinHandle<Result<()>>) -> Result<()> {
    task.abort();
    match task.await {
        Ok(outcome) => outcome,
        Err(stopped) if stopped.is_cancelled() => Ok(()),
        Err(panicked) => Err(panicked.into()),
    }
}

/// Root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One line about what a test is doing; it takes minutes, and silence would look like a hang.
#[expect(clippy::print_stderr, reason = "progress of a test belongs on the terminal")]
pub fn progress(test: &str, what: &str) {
    eprintln!(
        "{} {test}: {what}",
        jiff::Timestamp::from_second(seconds_since_epoch()).unwrap_or_default().strftime("%H:%M:%S")
    );
}

#[expect(clippy::disallowed_methods, reason = "a time of day for the reader of the output; nothing is decided with it")]
fn seconds_since_epoch() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
