//! What engines and router say, read once each control period: one bounded request at a time to each of them.

use std::collections::BTreeMap;

use autoscaler_plan::{EngineSample, RouterEngineView, SumCount};
use engines::exposition::{self, Exposition};
use engines::metrics::{EngineMetrics, Histogram};
use engines::scrape::Scraper;
use jiff::Timestamp;
use serde::Deserialize;

use super::fleet::RouterView;

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
    pub metrics: Result<RouterMetrics, String>,
    /// Its list of engines; why there is none.
    pub view: Result<RouterView, String>,
}

/// The router's metrics that are needed here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterMetrics {
    /// By served name.
    pub models: BTreeMap<String, RouterModelMetrics>,
}

/// The router's metrics of one served name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterModelMetrics {
    /// Requests that wait for any engine.
    pub queue_depth: f64,
    /// Requests admitted since the router started.
    pub received_total: f64,
    /// Answered requests since the router started, by status code.
    pub answered_total: BTreeMap<String, f64>,
    /// What it sees of each engine.
    pub engines: BTreeMap<String, RouterEngineView>,
    /// Time to first token of each engine, with buckets.
    pub ttft: BTreeMap<String, Histogram>,
}

/// Reads one engine. A page of metrics proves health as well, so `/health` is asked only where there is none.
pub async fn read_engine(
    scraper: Scraper,
    id: String,
    url: String,
    is_ready: bool,
    clock: fn() -> Timestamp,
) -> EngineReading {
    let metrics = match is_ready {
        true => scraper.text(&format!("{url}/metrics")).await.map_err(|error| describe(&error)),
        false => Err("not ready yet".to_owned()),
    };
    let at = clock();
    let sample = metrics.map(|text| engine_sample(&EngineMetrics::from_exposition(&exposition::parse(&text)), at));
    // vLLM answers /metrics while its engine core is dead, and /health then says so: 503.
    let is_healthy = scraper.text(&format!("{url}/health")).await.is_ok();
    // An engine that is alive without a metrics page (404) was seen, and shows nothing of vLLM's.
    let sample = match sample {
        Err(reason) if is_healthy && reason.contains("answered 4") => Ok(EngineSample::without_vllm_metrics(at)),
        other => other,
    };
    EngineReading { id, is_healthy, sample }
}

/// Reads the router's admin server.
pub async fn read_router(scraper: Scraper, admin_url: String, clock: fn() -> Timestamp) -> RouterReading {
    let metrics = scraper.text(&format!("{admin_url}/metrics")).await;
    let view = scraper.text(&format!("{admin_url}/engines")).await;
    RouterReading {
        at: clock(),
        metrics: metrics.map(|text| router_metrics(&exposition::parse(&text))).map_err(|error| describe(&error)),
        view: view.map_err(|error| describe(&error)).and_then(|text| router_view(&text)),
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// All served names of an engine as one sample.
fn engine_sample(metrics: &EngineMetrics, at: Timestamp) -> EngineSample {
    if !metrics.has_vllm_metrics {
        return EngineSample::without_vllm_metrics(at);
    }
    let sum_count = |field: fn(&engines::metrics::ModelMetrics) -> Option<&Histogram>| {
        let histograms: Vec<&Histogram> = metrics.models.values().filter_map(field).collect();
        let sum = histograms.iter().map(|histogram| histogram.sum).sum();
        let count = histograms.iter().map(|histogram| histogram.count).sum();
        (!histograms.is_empty()).then_some(SumCount { sum, count })
    };
    EngineSample {
        at,
        has_vllm_metrics: true,
        running: metrics.total(|model| model.requests_running),
        waiting: metrics.total(|model| model.requests_waiting),
        kv_cache_usage: metrics.models.values().filter_map(|model| model.kv_cache_usage).reduce(f64::max),
        finished_total: metrics.total(|model| model.requests_finished_total),
        ttft: sum_count(|model| model.time_to_first_token_seconds.as_ref()),
        inter_token_latency: sum_count(|model| model.inter_token_latency_seconds.as_ref()),
    }
}

fn router_metrics(page: &Exposition<'_>) -> RouterMetrics {
    let mut metrics = RouterMetrics::default();
    for sample in &page.samples {
        let Some(name) = sample.name.strip_prefix("router_") else { continue };
        let Some(model_name) = sample.label("model_name") else { continue };
        let model = metrics.models.entry(model_name.to_owned()).or_default();
        let engine = sample.label("engine");
        match (name, engine) {
            ("queue_depth", _) => model.queue_depth += sample.value,
            ("requests_received_total", _) => model.received_total += sample.value,
            ("requests_total", _) => {
                let code = sample.label("code").unwrap_or_default().to_owned();
                *model.answered_total.entry(code).or_default() += sample.value;
            }
            ("requests_in_flight", Some(engine)) => {
                model.engines.entry(engine.to_owned()).or_default().in_flight += sample.value;
            }
            (_, Some(engine)) => model.read_latency(name, engine, sample.label("le"), sample.value),
            _ => {}
        }
    }
    metrics
}

impl RouterModelMetrics {
    fn read_latency(&mut self, name: &str, engine: &str, bound: Option<&str>, value: f64) {
        let Some((family, part)) = name.rsplit_once('_') else { return };
        let is_ttft = family == "time_to_first_token_seconds";
        if !is_ttft && family != "inter_token_latency_seconds" {
            return;
        }
        let view = self.engines.entry(engine.to_owned()).or_default();
        let totals = if is_ttft { &mut view.ttft } else { &mut view.inter_token_latency };
        match part {
            "sum" => totals.get_or_insert(SumCount { sum: 0.0, count: 0.0 }).sum += value,
            "count" => totals.get_or_insert(SumCount { sum: 0.0, count: 0.0 }).count += value,
            "bucket" if is_ttft => {
                let Some(bound) = bound.and_then(|text| text.parse::<f64>().ok()) else { return };
                self.ttft.entry(engine.to_owned()).or_default().buckets.push((bound, value));
            }
            _ => {}
        }
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
    fn the_routers_page_is_read_by_served_name() {
        let page = "router_queue_depth{model_name=\"m\"} 3\n\
            router_requests_received_total{model_name=\"m\"} 120\n\
            router_requests_total{model_name=\"m\",code=\"200\"} 100\n\
            router_requests_total{model_name=\"m\",code=\"503\"} 2\n\
            router_requests_in_flight{model_name=\"m\",engine=\"m-1\"} 4\n\
            router_time_to_first_token_seconds_sum{model_name=\"m\",engine=\"m-1\"} 2.5\n\
            router_time_to_first_token_seconds_count{model_name=\"m\",engine=\"m-1\"} 50\n\
            router_time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"m-1\",le=\"0.1\"} 49\n\
            router_time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"m-1\",le=\"+Inf\"} 50\n";
        let metrics = router_metrics(&exposition::parse(page));
        let model = &metrics.models["m"];
        assert!((model.queue_depth - 3.0).abs() < 1e-9 && (model.received_total - 120.0).abs() < 1e-9);
        assert_eq!(model.answered_total.len(), 2);
        let engine = model.engines["m-1"];
        assert!((engine.in_flight - 4.0).abs() < 1e-9);
        assert_eq!(engine.ttft, Some(SumCount { sum: 2.5, count: 50.0 }));
        assert_eq!(model.ttft["m-1"].buckets, [(0.1, 49.0), (f64::INFINITY, 50.0)]);
    }

    #[test]
    fn an_unknown_engines_page_is_an_error_not_an_idle_router() {
        assert!(router_view("{\"engines\":[]}").unwrap_err().contains("generation"));
        let view = router_view("{\"generation\":4,\"engines\":[{\"id\":\"m-1\",\"in_flight\":2,\"state\":\"ready\"}]}");
        assert_eq!(view.unwrap().in_flight["m-1"], 2);
    }
}
