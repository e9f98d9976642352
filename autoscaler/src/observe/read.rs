//! One metrics page as the numbers a decision needs. Names are those of vLLM 0.32 and of our router.

use std::collections::BTreeMap;

use autoscaler_plan::{EngineSample, RouterEngineView, SumCount};
use engines::exposition::Exposition;
use engines::metrics::{EngineMetrics, Histogram, ModelMetrics};
use jiff::Timestamp;

/// What a router replica says of one served name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouterModel {
    /// Requests that wait for any engine.
    pub queue_depth: f64,
    /// Requests admitted since the router started.
    pub received_total: f64,
    /// What it sees of each engine, by id.
    pub engines: BTreeMap<String, RouterEngineView>,
}

/// All served names of an engine as one sample.
#[must_use]
pub fn engine_sample(metrics: &EngineMetrics, at: Timestamp) -> EngineSample {
    if !metrics.has_vllm_metrics {
        return EngineSample::without_vllm_metrics(at);
    }
    EngineSample {
        at,
        has_vllm_metrics: true,
        running: metrics.total(|model| model.requests_running),
        waiting: metrics.total(|model| model.requests_waiting),
        kv_cache_usage: metrics.models.values().filter_map(|model| model.kv_cache_usage).reduce(f64::max),
        finished_total: metrics.total(|model| model.requests_finished_total),
        ttft: sum_count(metrics, |model| model.time_to_first_token_seconds.as_ref()),
        inter_token_latency: sum_count(metrics, |model| model.inter_token_latency_seconds.as_ref()),
    }
}

fn sum_count(metrics: &EngineMetrics, field: impl Fn(&ModelMetrics) -> Option<&Histogram>) -> Option<SumCount> {
    metrics
        .models
        .values()
        .filter_map(field)
        .map(|histogram| SumCount { sum: histogram.sum, count: histogram.count })
        .reduce(|left, right| SumCount { sum: left.sum + right.sum, count: left.count + right.count })
}

/// A router's page by served name.
#[must_use]
pub fn router_page(page: &Exposition<'_>) -> BTreeMap<String, RouterModel> {
    let mut models: BTreeMap<String, RouterModel> = BTreeMap::new();
    for sample in &page.samples {
        let Some(name) = sample.name.strip_prefix("router_") else { continue };
        let Some(model_name) = sample.label("model_name") else { continue };
        let model = models.entry(model_name.to_owned()).or_default();
        match (name, sample.label("engine")) {
            ("queue_depth", None) => model.queue_depth += sample.value,
            ("requests_received_total", None) => model.received_total += sample.value,
            ("requests_in_flight", Some(engine)) => model.engine(engine).in_flight += sample.value,
            (_, Some(engine)) => {
                let Some((family, part)) = name.rsplit_once('_') else { continue };
                let total = match family {
                    "time_to_first_token_seconds" => &mut model.engine(engine).ttft,
                    "inter_token_latency_seconds" => &mut model.engine(engine).inter_token_latency,
                    _ => continue,
                };
                match part {
                    "sum" => total.get_or_insert(SumCount { sum: 0.0, count: 0.0 }).sum += sample.value,
                    "count" => total.get_or_insert(SumCount { sum: 0.0, count: 0.0 }).count += sample.value,
                    _ => {}
                }
            }
            (_, None) => {}
        }
    }
    models
}

impl RouterModel {
    fn engine(&mut self, id: &str) -> &mut RouterEngineView {
        self.engines.entry(id.to_owned()).or_default()
    }
}
