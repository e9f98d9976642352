//! What one scrape of an engine says, per served name.
//!
//! Names are those of vLLM 0.32; older names that mean the same are accepted beside them. A missing sample is `None`,
//! never zero: data-parallel engines show gauges without a sample until the first request.

use std::collections::BTreeMap;

use crate::exposition::{Exposition, Sample};

/// Counts since the engine started: sum, count and cumulative buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Sum of all observations.
    pub sum: f64,
    /// Number of observations.
    pub count: f64,
    /// `(upper bound, observations up to it)`, ascending, with `+Inf` last.
    pub buckets: Vec<(f64, f64)>,
}

/// Metrics of one served name on one engine, summed over its data-parallel ranks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelMetrics {
    /// Requests in the running batch.
    pub requests_running: Option<f64>,
    /// Requests that wait for a place in the batch.
    pub requests_waiting: Option<f64>,
    /// Those of them that wait for something else, such as a KV cache on its way from a prefill engine; `None` if not told.
    pub requests_deferred: Option<f64>,
    /// Share of KV blocks in use, 0 to 1, mean over ranks.
    pub kv_cache_usage: Option<f64>,
    /// Prompt tokens processed since start.
    pub prompt_tokens_total: Option<f64>,
    /// Tokens generated since start.
    pub generation_tokens_total: Option<f64>,
    /// Requests finished since start, all reasons; aborted ones are not counted by vLLM.
    pub requests_finished_total: Option<f64>,
    /// Requests evicted from the batch since start.
    pub preemptions_total: Option<f64>,
    /// Requests refused because the queue was full, since start.
    pub admission_rejections_total: Option<f64>,
    /// Seconds from arrival to the first token.
    pub time_to_first_token_seconds: Option<Histogram>,
    /// Seconds between two tokens of a request.
    pub inter_token_latency_seconds: Option<Histogram>,
    /// Seconds from arrival to the last token.
    pub e2e_request_latency_seconds: Option<Histogram>,
    /// Tokens of finished prompts.
    pub request_prompt_tokens: Option<Histogram>,
    /// Tokens of finished answers.
    pub request_generation_tokens: Option<Histogram>,
    /// True if a rank says that it sleeps: it answers `/health`, and requests hang.
    pub asleep: bool,
}

/// One scrape of one engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineMetrics {
    /// By served name (`model_name`).
    pub models: BTreeMap<String, ModelMetrics>,
    /// Whether the page is that of a vLLM: another engine is scaled by what the router sees.
    pub has_vllm_metrics: bool,
    /// KV cache size in tokens, if told by `vllm:cache_config_info`.
    pub kv_cache_size_tokens: Option<f64>,
}

impl EngineMetrics {
    /// Picks what is known out of a metrics page.
    #[must_use]
    pub fn from_exposition(page: &Exposition<'_>) -> Self {
        let mut metrics = Self {
            has_vllm_metrics: page.families.iter().any(|name| name.starts_with("vllm:"))
                || page.samples.iter().any(|sample| sample.name.starts_with("vllm:")),
            ..Self::default()
        };
        let mut ranks: BTreeMap<String, f64> = BTreeMap::new();
        for sample in &page.samples {
            let Some(name) = sample.name.strip_prefix("vllm:") else { continue };
            if name == "cache_config_info" {
                let tokens = sample.label("kv_cache_size_tokens").and_then(|text| text.parse::<f64>().ok());
                metrics.kv_cache_size_tokens =
                    tokens.map(|tokens| tokens + metrics.kv_cache_size_tokens.unwrap_or(0.0));
            }
            let Some(model_name) = sample.label("model_name") else { continue };
            if !metrics.models.contains_key(model_name) {
                metrics.models.insert(model_name.to_owned(), ModelMetrics::default());
            }
            let Some(model) = metrics.models.get_mut(model_name) else { continue };
            if model.read(name, sample) {
                *ranks.entry(model_name.to_owned()).or_default() += 1.0;
            }
        }
        for (model_name, count) in ranks {
            if let Some(usage) = metrics.models.get_mut(&model_name).and_then(|model| model.kv_cache_usage.as_mut()) {
                *usage /= count;
            }
        }
        metrics
    }

    /// All served names of the engine added up; useful where one engine serves one name.
    #[must_use]
    pub fn total(&self, field: impl Fn(&ModelMetrics) -> Option<f64>) -> Option<f64> {
        self.models.values().filter_map(field).reduce(|sum, value| sum + value)
    }
}

impl ModelMetrics {
    /// Takes one sample in; true if it was a KV usage (whose ranks are averaged, not added).
    fn read(&mut self, name: &str, sample: &Sample<'_>) -> bool {
        let value = sample.value;
        match name {
            "num_requests_running" => add(&mut self.requests_running, value),
            "num_requests_waiting" => add(&mut self.requests_waiting, value),
            "num_requests_waiting_by_reason" if sample.label("reason") == Some("deferred") => {
                add(&mut self.requests_deferred, value);
            }
            "kv_cache_usage_perc" | "gpu_cache_usage_perc" => {
                add(&mut self.kv_cache_usage, value);
                return true;
            }
            "prompt_tokens_total" => add(&mut self.prompt_tokens_total, value),
            "generation_tokens_total" => add(&mut self.generation_tokens_total, value),
            "request_success_total" => add(&mut self.requests_finished_total, value),
            "num_preemptions_total" => add(&mut self.preemptions_total, value),
            "admission_rejections_total" => add(&mut self.admission_rejections_total, value),
            "engine_sleep_state" => {
                let sleeping_state = sample.label("sleep_state").is_some_and(|state| state != "awake");
                self.asleep |= sleeping_state && value > 0.0;
            }
            _ => self.read_histogram(name, sample),
        }
        false
    }

    fn read_histogram(&mut self, name: &str, sample: &Sample<'_>) {
        let Some((family, part)) = name.rsplit_once('_') else { return };
        let histogram = match family {
            "time_to_first_token_seconds" => &mut self.time_to_first_token_seconds,
            "inter_token_latency_seconds" | "time_per_output_token_seconds" => &mut self.inter_token_latency_seconds,
            "e2e_request_latency_seconds" => &mut self.e2e_request_latency_seconds,
            "request_prompt_tokens" => &mut self.request_prompt_tokens,
            "request_generation_tokens" => &mut self.request_generation_tokens,
            _ => return,
        };
        match part {
            "sum" => histogram.get_or_insert_default().sum += sample.value,
            "count" => histogram.get_or_insert_default().count += sample.value,
            "bucket" => {
                let Some(bound) = sample.label("le").and_then(|text| text.parse::<f64>().ok()) else { return };
                let buckets = &mut histogram.get_or_insert_default().buckets;
                match buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
                    Ok(place) => buckets[place].1 += sample.value,
                    Err(place) => buckets.insert(place, (bound, sample.value)),
                }
            }
            _ => {}
        }
    }
}

fn add(field: &mut Option<f64>, value: f64) {
    if value.is_finite() {
        *field = Some(field.unwrap_or(0.0) + value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;

    const UNDER_LOAD: &str = include_str!("../tests/fixtures/metrics-under-load.prom");
    const RANKS_AT_REST: &str = include_str!("../tests/fixtures/metrics-dp2-rest.prom");

    #[test]
    fn a_loaded_engine_shows_its_queue_and_its_counters() {
        let metrics = EngineMetrics::from_exposition(&parse(UNDER_LOAD));
        let tiny = &metrics.models["tiny"];
        assert_eq!(tiny.requests_running, Some(4.0));
        assert_eq!(tiny.requests_waiting, Some(8.0));
        assert_eq!(tiny.admission_rejections_total, Some(8.0));
        assert_eq!(tiny.requests_finished_total, Some(9.0));
        assert_eq!(tiny.prompt_tokens_total, Some(2021.0));
        let first_token = tiny.time_to_first_token_seconds.as_ref().unwrap();
        assert!((first_token.count - 13.0).abs() < f64::EPSILON && (first_token.sum - 1.2839).abs() < 1e-3);
        assert_eq!(first_token.buckets.last().map(|(bound, count)| (bound.is_infinite(), *count)), Some((true, 13.0)));
        assert!(first_token.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert!(metrics.has_vllm_metrics && metrics.kv_cache_size_tokens.is_some() && !tiny.asleep);
    }

    #[test]
    fn a_gauge_without_a_sample_is_absent_not_zero() {
        let metrics = EngineMetrics::from_exposition(&parse(RANKS_AT_REST));
        assert!(metrics.has_vllm_metrics);
        assert_eq!(metrics.total(|model| model.requests_waiting), None);
    }

    #[test]
    fn ranks_are_added_and_their_cache_use_is_averaged() {
        let page = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3\n\
                    vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 1\n\
                    vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.2\n\
                    vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"m\"} 0.6\n";
        let metrics = EngineMetrics::from_exposition(&parse(page));
        assert_eq!(metrics.models["m"].requests_running, Some(4.0));
        assert!((metrics.models["m"].kv_cache_usage.unwrap() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn requests_that_wait_for_something_else_than_room_are_told_apart() {
        let page = "vllm:num_requests_waiting{model_name=\"m\"} 5\n\
                    vllm:num_requests_waiting_by_reason{model_name=\"m\",reason=\"capacity\"} 3\n\
                    vllm:num_requests_waiting_by_reason{model_name=\"m\",reason=\"deferred\"} 2\n";
        let metrics = EngineMetrics::from_exposition(&parse(page));
        assert_eq!(metrics.models["m"].requests_waiting, Some(5.0));
        assert_eq!(metrics.models["m"].requests_deferred, Some(2.0));
    }

    #[test]
    fn another_engine_is_known_by_the_lack_of_vllm_families() {
        let page = parse("# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 1\n");
        assert!(!EngineMetrics::from_exposition(&page).has_vllm_metrics);
    }

    #[test]
    fn a_sleeping_engine_is_seen_only_in_its_sleep_state() {
        let page = parse("vllm:engine_sleep_state{model_name=\"m\",sleep_state=\"weights_offloaded\"} 1\n");
        assert!(EngineMetrics::from_exposition(&page).models["m"].asleep);
    }
}
