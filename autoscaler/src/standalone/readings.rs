//! What engines and router say, read once each control period: one bounded request at a time to each of them.

use autoscaler_plan::EngineSample;
use engines::exposition;
use engines::metrics::EngineMetrics;
use engines::scrape::{ScrapeError, Scraper};
use jiff::Timestamp;
use serde::Deserialize;

use super::fleet::RouterView;
use crate::observe::read::{engine_sample, router_page};
use crate::observe::{RouterPage, describe};

/// One look at one engine.
#[derive(Debug, Clone)]
pub struct EngineReading {
    /// The engine.
    pub id: String,
    /// Whether it says that it takes requests.
    pub is_healthy: bool,
    /// Its metrics; why there are none.
    pub sample: Result<EngineSample, String>,
}

/// One look at the router.
#[derive(Debug, Clone)]
pub struct RouterReading {
    /// When it had answered.
    pub at: Timestamp,
    /// Its metrics; why there are none.
    pub metrics: Result<RouterPage, String>,
    /// Its list of engines; why there is none.
    pub view: Result<RouterView, String>,
}

/// Reads one engine: its metrics once it is ready, its health always.
pub async fn read_engine(
    scraper: Scraper,
    id: String,
    url: String,
    is_ready: bool,
    clock: fn() -> Timestamp,
) -> EngineReading {
    let metrics = match is_ready {
        true => Some(scraper.text(&format!("{url}/metrics")).await),
        false => None,
    };
    let at = clock();
    // vLLM answers /metrics while its engine core is dead, and /health then says so: 503.
    let is_healthy = scraper.text(&format!("{url}/health")).await.is_ok();
    let sample = match metrics {
        None => Err("not ready yet".to_owned()),
        Some(Ok(text)) => Ok(engine_sample(&EngineMetrics::from_exposition(&exposition::parse(&text)), at)),
        // An engine that is alive without a metrics page (404) was seen, and shows nothing of vLLM's.
        Some(Err(ScrapeError::Status { status: 400..500, .. })) if is_healthy => {
            Ok(EngineSample::without_vllm_metrics(at))
        }
        Some(Err(error)) => Err(describe(&error)),
    };
    EngineReading { id, is_healthy, sample }
}

/// Reads the router's admin server.
pub async fn read_router(scraper: Scraper, admin_url: String, clock: fn() -> Timestamp) -> RouterReading {
    let metrics = scraper.text(&format!("{admin_url}/metrics")).await;
    let view = scraper.text(&format!("{admin_url}/engines")).await;
    RouterReading {
        at: clock(),
        metrics: metrics.map(|text| router_page(&exposition::parse(&text))).map_err(|error| describe(&error)),
        view: view.map_err(|error| describe(&error)).and_then(|text| router_view(&text)),
    }
}

fn router_view(text: &str) -> Result<RouterView, String> {
    #[derive(Deserialize)]
    struct Page {
        generation: u64,
        engines: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        id: String,
        in_flight: u64,
    }
    let page: Page = serde_json::from_str(text).map_err(|error| format!("/engines is not understood: {error}"))?;
    let in_flight = page.engines.into_iter().map(|engine| (engine.id, engine.in_flight)).collect();
    Ok(RouterView { generation: page.generation, in_flight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_engines_page_is_an_error_not_an_idle_router() {
        assert!(router_view("{\"engines\":[]}").unwrap_err().contains("generation"));
        let view = router_view("{\"generation\":4,\"engines\":[{\"id\":\"m-1\",\"in_flight\":2,\"state\":\"ready\"}]}");
        assert_eq!(view.unwrap().in_flight["m-1"], 2);
    }
}
