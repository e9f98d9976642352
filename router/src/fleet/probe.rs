//! Brings engines back that were taken out after failures: `/health` once a second.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::fetch::fetch;
use crate::live::EngineLive;
use crate::shared::Shared;

/// A recovered engine is back within this and one timeout.
const INTERVAL: Duration = Duration::from_secs(1);
/// `/health` of vLLM asks its core process; slower means that it cannot take requests anyway.
const TIMEOUT: Duration = Duration::from_millis(900);

/// Probes the engines that are out, for ever.
pub async fn probe(shared: Arc<Shared>) -> Result<(), std::convert::Infallible> {
    loop {
        let out: Vec<Arc<EngineLive>> = {
            let snapshot = shared.snapshot.load();
            snapshot.engines.iter().map(|view| &view.live).filter(|live| live.is_ejected()).cloned().collect()
        };
        if out.is_empty() {
            shared.ejected.notified().await;
        } else {
            join_all(out.iter().map(|engine| try_one(&shared, engine))).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn try_one(shared: &Shared, engine: &EngineLive) {
    match fetch(engine, "/health", TIMEOUT).await {
        Ok(_) => {
            tracing::info!(engine = &*engine.id, "engine answers again");
            engine.readmit();
            // Another engine may listen there now.
            engine.ask_again.notify_one();
            shared.wake_waiting();
        }
        Err(error) => tracing::debug!(engine = &*engine.id, %error, "engine still out"),
    }
}
