use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::watch::{self, Change};

/// A state of an object, and when it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When this test saw it.
    pub at: Instant,
    /// The object.
    pub object: Value,
}

/// Every state an object went through since the watch began: "all along" is checked on what the API server published, not
/// on samples that could miss a bad moment.
#[derive(Debug)]
pub struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
    name: String,
}

impl History {
    pub(super) fn record(client: reqwest::Client, collection: String, name: String) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let (seen, name) = (Arc::clone(&seen), name.clone());
            async move {
                loop {
                    // A watch ends now and then by design of the API; the next one starts with the present state.
                    if follow(&client, &collection, &name, &seen).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        });
        Self { seen, task, name }
    }

    /// All states so far, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("no holder panics").clone()
    }

    /// The states since `start`.
    #[must_use]
    pub fn since(&self, start: Instant) -> Vec<Seen> {
        self.all().into_iter().filter(|seen| seen.at >= start).collect()
    }

    /// The present state.
    #[must_use]
    pub fn latest(&self) -> Option<Value> {
        self.seen.lock().expect("no holder panics").last().map(|seen| seen.object.clone())
    }

    /// Waits until a state from `start` on satisfies `check`, and returns when it was seen.
    ///
    /// # Errors
    /// After `deadline`, with the last state's status.
    pub async fn wait(
        &self,
        start: Instant,
        deadline: Duration,
        what: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Seen> {
        let end = Instant::now() + deadline;
        loop {
            // The state that was current when `start` came counts too.
            let all = self.all();
            let current = all.iter().rposition(|seen| seen.at <= start).unwrap_or(0);
            if let Some(seen) = all[current.min(all.len())..].iter().find(|seen| check(&seen.object)) {
                return Ok(seen.clone());
            }
            if Instant::now() >= end {
                let status =
                    self.latest().map_or_else(|| "never seen".to_owned(), |object| object["status"].to_string());
                bail!("{}: {what} did not come about within {deadline:?}; status: {status}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: &reqwest::Client, collection: &str, name: &str, seen: &Mutex<Vec<Seen>>) -> Result<()> {
    let url = format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}");
    watch::follow(client, &url, |change, object| {
        if change == Change::Present {
            seen.lock().expect("no holder panics").push(Seen { at: Instant::now(), object });
        }
    })
    .await
}
