//! What an engine serves, from its `/v1/models`.

use std::sync::Arc;
use std::time::Duration;

use router_core::EngineKey;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fetch::{FetchError, fetch};
use crate::live::EngineLive;

/// How often a known engine is asked again: adapters are loaded and engines replaced behind the same address.
const REFRESH: Duration = Duration::from_secs(10);
/// First pause before an engine that did not answer is asked again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause: an engine that has become ready is in use this much later at most.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A model list comes from memory; an engine too busy to give it in this time is asked again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The model cards of an engine.
#[derive(Debug)]
pub struct Learned {
    /// Which engine.
    pub key: EngineKey,
    /// Its cards as it wrote them, each with its `id`.
    pub cards: Vec<(Arc<str>, Value)>,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Value>,
}

/// Asks an engine for its models, again and again; ends when nobody listens.
pub async fn learn(engine: Arc<EngineLive>, learned: mpsc::Sender<Learned>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = match cards(&engine).await {
            Ok(cards) => {
                if learned.send(Learned { key: engine.key, cards }).await.is_err() {
                    return;
                }
                pause = FIRST_PAUSE;
                REFRESH
            }
            Err(error) => {
                tracing::debug!(engine = &*engine.id, %error, "no model list");
                let wait = pause;
                pause = (pause * 2).min(MAX_PAUSE);
                wait
            }
        };
        // Cancel-safe: a notification that comes meanwhile is stored.
        tokio::select! {
            () = tokio::time::sleep(wait) => {},
            () = engine.ask_again.notified() => {},
        }
    }
}

async fn cards(engine: &EngineLive) -> Result<Vec<(Arc<str>, Value)>, FetchError> {
    let body = fetch(engine, "/v1/models", TIMEOUT).await?;
    let list: ModelList = serde_json::from_slice(&body).map_err(|error| FetchError::Body(error.to_string()))?;
    let named = list.data.into_iter().filter_map(|card| {
        let id: Arc<str> = card.get("id")?.as_str()?.into();
        Some((id, card))
    });
    Ok(named.collect())
}
