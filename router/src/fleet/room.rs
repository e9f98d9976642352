//! Looks at the engines' own queues once a second, so that requests that would wait there wait here instead.

use std::sync::Arc;
use std::time::Duration;

use engines::exposition;
use engines::metrics::EngineMetrics;
use futures::future::join_all;
use router_core::EngineQueue;
use tokio::time::{Instant, MissedTickBehavior};

use super::fetch::{FetchError, fetch};
use crate::config::MaxInFlight;
use crate::live::EngineLive;
use crate::shared::Shared;

/// Some tens of decoding steps; a scrape costs an engine's front end a few milliseconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// The page comes from memory.
const TIMEOUT: Duration = Duration::from_millis(900);
/// How long a limit outlives the last look: a few lost scrapes of a busy front end, which is what full engines have.
const FORGET: Duration = Duration::from_secs(10);

/// Follows the engines' queues while `maxInFlightPerEngine` is `auto`, for ever.
pub async fn watch(shared: Arc<Shared>) -> Result<(), std::convert::Infallible> {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if shared.tunables.load().max_in_flight_per_engine != Some(MaxInFlight::Auto) {
            continue;
        }
        let engines: Vec<Arc<EngineLive>> = {
            let snapshot = shared.snapshot.load();
            snapshot.engines.iter().filter(|view| view.state.is_some()).map(|view| view.live.clone()).collect()
        };
        join_all(engines.iter().map(|engine| look(engine))).await;
        // A limit may have risen.
        shared.wake_waiting();
    }
}

async fn look(engine: &EngineLive) {
    match queue_of(engine).await {
        Ok(Some(seen)) => engine.saw_queue(seen, Instant::now()),
        Ok(None) => engine.forget_queue(),
        Err(error) => {
            tracing::debug!(engine = &*engine.id, %error, "no metrics");
            engine.forget_queue_after(FORGET, Instant::now());
        }
    }
}

/// The engine's queue, or `None` if it does not show one.
async fn queue_of(engine: &EngineLive) -> Result<Option<EngineQueue>, FetchError> {
    let body = fetch(engine, "/metrics", TIMEOUT).await?;
    let own = engine.in_flight();
    let text = std::str::from_utf8(&body).map_err(|error| FetchError::Body(error.to_string()))?;
    let metrics = EngineMetrics::from_exposition(&exposition::parse(text));
    let running = metrics.total(|model| model.requests_running);
    let waiting = metrics.total(|model| model.requests_waiting);
    Ok(running.zip(waiting).map(|(running, waiting)| EngineQueue {
        running: whole(running),
        waiting: whole(waiting),
        own,
    }))
}

/// A gauge that counts requests.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}
