//! One metrics page as the numbers a decision needs. Names are those of vLLM 0.32 and of our router.

use std::collections::BTreeMap;
use std::ops::Add as _;

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
    /// Those of them that missed the objective of time to first token; `None` where the router knows no objective.
    pub late_total: Option<f64>,
    /// Those that were in time, and came more slowly than the objective between tokens; `None` without one.
    pub slow_total: Option<f64>,
    /// Answered requests since the router started, by status code.
    pub answered_total: BTreeMap<String, f64>,
    /// What it sees of each engine, by id.
    pub engines: BTreeMap<String, RouterEngineView>,
    /// Time to first token of each engine, by id: `(upper bound in seconds, requests up to it)` as on the page.
    pub ttft_buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

/// All served names of an engine as one sample.
#[must_use]
pub fn engine_sample(metrics: &EngineMetrics, at: Timestamp) -> EngineSample {
    if !metrics.has_vllm_metrics {
        return EngineSample::without_vllm_metrics(at);
    }
    // A decode engine has room for those whose cache is on its way: they are in service, and no sign that it is full.
    let deferred = metrics.total(|model| model.requests_deferred).unwrap_or(0.0);
    EngineSample {
        at,
        has_vllm_metrics: true,
        running: metrics.total(|model| model.requests_running).map(|running| running + deferred),
        waiting: metrics.total(|model| model.requests_waiting).map(|waiting| (waiting - deferred).max(0.0)),
        kv_cache_usage: metrics.models.values().filter_map(|model| model.kv_cache_usage).reduce(f64::max),
        finished_total: metrics.total(|model| model.requests_finished_total),
        ttft: sum_count(metrics, |model| model.time_to_first_token_seconds.as_ref()),
        inter_token_latency: sum_count(metrics, |model| model.inter_token_latency_seconds.as_ref()),
        prompt_tokens: sum_count(metrics, |model| model.request_prompt_tokens.as_ref()),
        output_tokens: sum_count(metrics, |model| model.request_generation_tokens.as_ref()),
        kv_cache_tokens: metrics.kv_cache_size_tokens,
    }
}

fn sum_count(metrics: &EngineMetrics, field: impl Fn(&ModelMetrics) -> Option<&Histogram>) -> Option<SumCount> {
    metrics
        .models
        .values()
        .filter_map(field)
        .map(|histogram| SumCount { sum: histogram.sum, count: histogram.count })
        .reduce(SumCount::add)
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
            ("requests_late_total", None) => *model.late_total.get_or_insert(0.0) += sample.value,
            ("requests_slow_total", None) => *model.slow_total.get_or_insert(0.0) += sample.value,
            ("requests_total", None) => {
                let code = sample.label("code").unwrap_or_default().to_owned();
                *model.answered_total.entry(code).or_default() += sample.value;
            }
            ("requests_in_flight", Some(engine)) => model.engine(engine).in_flight += sample.value,
            (_, Some(engine)) => model.read_latency(name, engine, sample.label("le"), sample.value),
            (_, None) => {}
        }
    }
    models
}

impl RouterModel {
    /// Requests that ended without an engine's answer: any status but 2xx.
    #[must_use]
    pub fn unanswered_total(&self) -> f64 {
        self.answered_total.iter().filter(|(code, _)| !code.starts_with('2')).map(|(_, total)| total).sum()
    }

    fn engine(&mut self, id: &str) -> &mut RouterEngineView {
        self.engines.entry(id.to_owned()).or_default()
    }

    /// Takes one sample of a histogram in; `name` ends with `_sum`, `_count` or `_bucket`.
    fn read_latency(&mut self, name: &str, engine: &str, bound: Option<&str>, value: f64) {
        let Some((family, part)) = name.rsplit_once('_') else { return };
        let is_ttft = family == "time_to_first_token_seconds";
        if !is_ttft && family != "inter_token_latency_seconds" {
            return;
        }
        let view = self.engine(engine);
        let total = if is_ttft { &mut view.ttft } else { &mut view.inter_token_latency };
        match part {
            "sum" => total.get_or_insert_default().sum += value,
            "count" => total.get_or_insert_default().count += value,
            "bucket" if is_ttft => {
                let Some(bound) = bound.and_then(|text| text.parse::<f64>().ok()) else { return };
                self.ttft_buckets.entry(engine.to_owned()).or_default().push((bound, value));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use engines::exposition;

    use super::*;

    #[test]
    fn a_request_whose_cache_is_on_its_way_has_its_place_in_the_engine() {
        let page = "vllm:num_requests_running{model_name=\"m\"} 7\n\
            vllm:num_requests_waiting{model_name=\"m\"} 5\n\
            vllm:num_requests_waiting_by_reason{model_name=\"m\",reason=\"capacity\"} 3\n\
            vllm:num_requests_waiting_by_reason{model_name=\"m\",reason=\"deferred\"} 2\n";
        let sample = engine_sample(&EngineMetrics::from_exposition(&exposition::parse(page)), Timestamp::UNIX_EPOCH);
        assert_eq!((sample.running, sample.waiting), (Some(9.0), Some(3.0)));
    }

    #[test]
    fn a_routers_page_is_read_by_served_name() {
        let page = "router_queue_depth{model_name=\"m\"} 3\n\
            router_requests_received_total{model_name=\"m\"} 120\n\
            router_requests_total{model_name=\"m\",code=\"200\"} 100\n\
            router_requests_total{model_name=\"m\",code=\"503\"} 2\n\
            router_requests_in_flight{model_name=\"m\",engine=\"m-1\"} 4\n\
            router_time_to_first_token_seconds_sum{model_name=\"m\",engine=\"m-1\"} 2.5\n\
            router_time_to_first_token_seconds_count{model_name=\"m\",engine=\"m-1\"} 50\n\
            router_time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"m-1\",le=\"0.1\"} 49\n\
            router_time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"m-1\",le=\"+Inf\"} 50\n\
            router_queue_wait_seconds_sum{model_name=\"m\"} 7\n";
        let models = router_page(&exposition::parse(page));
        let model = &models["m"];
        assert!((model.queue_depth - 3.0).abs() < 1e-9 && (model.received_total - 120.0).abs() < 1e-9);
        assert_eq!(model.answered_total, BTreeMap::from([("200".to_owned(), 100.0), ("503".to_owned(), 2.0)]));
        assert!((model.unanswered_total() - 2.0).abs() < 1e-9);
        let engine = model.engines["m-1"];
        assert!((engine.in_flight - 4.0).abs() < 1e-9);
        assert_eq!(engine.ttft, Some(SumCount { sum: 2.5, count: 50.0 }));
        assert_eq!(model.ttft_buckets["m-1"], [(0.1, 49.0), (f64::INFINITY, 50.0)]);
    }
}
