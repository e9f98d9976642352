//! Engines as the API server published them: from when to when each of them was there, and since when it was Ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::watch::{self, Change};

/// Engines of every model.
const SELECTOR: &str = "labelSelector=app.kubernetes.io%2Fcomponent%3Dserving-engine";

/// One engine's pod. It holds its GPUs all the time, Ready or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Model it serves.
    pub model: String,
    /// When it was first seen.
    pub created: Instant,
    /// When it became Ready, if it did.
    pub ready: Option<Instant>,
    /// When it was gone, if it is.
    pub gone: Option<Instant>,
}

/// By the pod's uid.
type Lives = BTreeMap<String, Life>;

/// A watch over all engines of a namespace.
#[derive(Debug)]
pub struct EngineLives {
    lives: Arc<Mutex<Lives>>,
    task: JoinHandle<()>,
}

impl EngineLives {
    pub(super) fn record(client: reqwest::Client, pods: String) -> Self {
        let lives = Arc::new(Mutex::new(Lives::new()));
        let task = tokio::spawn({
            let lives = Arc::clone(&lives);
            async move {
                loop {
                    // A watch ends now and then by design of the API: what happened in between is in the next list.
                    if list_and_follow(&client, &pods, &lives).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        });
        Self { lives, task }
    }

    /// All engines so far.
    #[must_use]
    pub fn all(&self) -> Vec<Life> {
        self.lives.lock().expect("no holder panics").values().cloned().collect()
    }
}

impl Drop for EngineLives {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Seconds that the model's engines existed between two moments, added up.
#[must_use]
pub fn engine_seconds(lives: &[Life], model: &str, from: Instant, to: Instant) -> f64 {
    let of_model = lives.iter().filter(|life| life.model == model);
    let inside = of_model.map(|life| life.gone.unwrap_or(to).min(to).saturating_duration_since(life.created.max(from)));
    inside.sum::<Duration>().as_secs_f64()
}

/// Engines of the model that were created between two moments.
#[must_use]
pub fn starts(lives: &[Life], model: &str, from: Instant, to: Instant) -> usize {
    lives.iter().filter(|life| life.model == model && (from..to).contains(&life.created)).count()
}

/// `(engines there, those of them Ready)` of the model at a moment.
#[must_use]
pub fn present(lives: &[Life], model: &str, at: Instant) -> (usize, usize) {
    let is_there = |life: &&Life| life.model == model && life.created <= at && life.gone.is_none_or(|gone| gone > at);
    let there: Vec<&Life> = lives.iter().filter(is_there).collect();
    (there.len(), there.iter().filter(|life| life.ready.is_some_and(|ready| ready <= at)).count())
}

async fn list_and_follow(client: &reqwest::Client, pods: &str, lives: &Mutex<Lives>) -> Result<()> {
    let list: Value = client.get(format!("{pods}?{SELECTOR}")).send().await?.error_for_status()?.json().await?;
    resume(&mut lives.lock().expect("no holder panics"), &list, Instant::now());
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    watch::follow(client, &format!("{pods}?watch=1&resourceVersion={version}&{SELECTOR}"), |change, pod| {
        see(&mut lives.lock().expect("no holder panics"), change, &pod, Instant::now());
    })
    .await
}

/// Takes in a list: what is not on it any more is gone.
fn resume(lives: &mut Lives, list: &Value, now: Instant) {
    let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (uid, life) in lives.iter_mut().filter(|(_, life)| life.gone.is_none()) {
        if !pods.iter().any(|pod| pod["metadata"]["uid"] == uid.as_str()) {
            life.gone = Some(now);
        }
    }
    for pod in pods {
        see(lives, Change::Present, pod, now);
    }
}

fn see(lives: &mut Lives, change: Change, pod: &Value, now: Instant) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let new = || Life { model: text(&pod["metadata"]["labels"]["model"]), created: now, ready: None, gone: None };
    let life = lives.entry(text(&pod["metadata"]["uid"])).or_insert_with(new);
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True") {
        life.ready.get_or_insert(now);
    }
    if change == Change::Gone {
        life.gone.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, model: &str, ready: &str) -> Value {
        let conditions = json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]);
        json!({"metadata": {"uid": uid, "labels": {"model": model}}, "status": {"conditions": conditions}})
    }

    #[test]
    fn an_engine_counts_from_its_creation_until_it_is_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lives = Lives::new();
        see(&mut lives, Change::Present, &pod("a", "m", "False"), at(0));
        see(&mut lives, Change::Present, &pod("a", "m", "True"), at(3));
        see(&mut lives, Change::Present, &pod("b", "m", "False"), at(10));
        see(&mut lives, Change::Present, &pod("c", "other", "True"), at(10));
        see(&mut lives, Change::Gone, &pod("b", "m", "False"), at(14));
        let all: Vec<Life> = lives.into_values().collect();
        let near = |seconds: f64, expected: f64| (seconds - expected).abs() < 1e-6;
        assert!(near(engine_seconds(&all, "m", at(0), at(20)), 24.0));
        assert!(near(engine_seconds(&all, "m", at(12), at(13)), 2.0));
        assert!(near(engine_seconds(&all, "m", at(15), at(20)), 5.0));
        assert_eq!((starts(&all, "m", at(0), at(20)), starts(&all, "m", at(1), at(10))), (2, 0));
        assert_eq!(
            (present(&all, "m", at(2)), present(&all, "m", at(12)), present(&all, "m", at(14))),
            ((1, 0), (2, 1), (1, 1))
        );
    }

    #[test]
    fn what_went_while_nobody_watched_is_gone_with_the_next_list() {
        let start = Instant::now();
        let mut lives = Lives::new();
        resume(&mut lives, &json!({"items": [pod("a", "m", "True"), pod("b", "m", "True")]}), start);
        let later = start + Duration::from_secs(5);
        resume(&mut lives, &json!({"items": [pod("b", "m", "True"), pod("c", "m", "False")]}), later);
        assert_eq!(
            (lives["a"].gone, lives["b"].gone, lives["b"].created, lives["c"].created),
            (Some(later), None, start, later)
        );
    }
}
