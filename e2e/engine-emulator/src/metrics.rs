//! `/metrics` in Prometheus' text format 1.0, with the families, types, labels and buckets of vLLM 0.32.
//!
//! Written by hand because the real one is: counters carry `_total` in their TYPE line and have a `_created` gauge
//! beside them, which no Rust library writes.

use std::fmt::Write as _;

use crate::scheduler::Scheduler;
use crate::stats::{Histogram, Stats};

mod config_info;
pub(crate) use config_info::ConfigInfo;

/// The Content-Type that goes with the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=1.0.0; charset=utf-8";

/// What does not change while the engine runs.
#[derive(Debug)]
pub(crate) struct MetricsContext {
    /// The first served name, escaped for a label.
    model_name: String,
    created: f64,
    kv_metrics: bool,
    config_info: String,
}

/// Sleep level: 0 is awake, 1 has offloaded its weights, 2 has discarded them.
pub(crate) type SleepLevel = u8;

impl MetricsContext {
    /// `created_unix_seconds` is when the counters began.
    pub(crate) fn new(model_name: &str, created_unix_seconds: f64, kv_metrics: bool, info: &ConfigInfo) -> Self {
        Self { model_name: escape(model_name), created: created_unix_seconds, kv_metrics, config_info: info.labels() }
    }

    /// The text of a scrape.
    pub(crate) fn render(&self, scheduler: &Scheduler, sleep: SleepLevel) -> String {
        let mut page = Page { text: String::with_capacity(64 * 1024), context: self };
        let stats = scheduler.stats();
        page.never_moving(FLOPS);
        page.gauges(scheduler, sleep);
        page.cache_counters(stats);
        page.token_counters(stats);
        page.request_counters(stats);
        page.request_histograms(stats);
        if self.kv_metrics {
            page.histogram("kv_block_lifetime_seconds", KV_LIFETIME, &stats.blocks.lifetime);
            page.histogram("kv_block_idle_before_evict_seconds", KV_IDLE, &stats.blocks.idle_before_evict);
            page.histogram("kv_block_reuse_gap_seconds", KV_REUSE, &stats.blocks.reuse_gap);
        }
        page.header("cache_config_info", "Information of the LLMEngine CacheConfig", "gauge");
        page.sample_with("cache_config_info", &self.config_info, 1.0);
        page.text
    }
}

const FLOPS: &[(&str, &str)] = &[
    ("estimated_flops_per_gpu", "Estimated number of floating point operations per GPU."),
    ("estimated_read_bytes_per_gpu", "Estimated number of bytes read from memory per GPU."),
    ("estimated_write_bytes_per_gpu", "Estimated number of bytes written to memory per GPU."),
];
const OTHER_CACHES: &[(&str, &str)] = &[
    ("external_prefix_cache_queries", "External prefix cache queries, in queried tokens."),
    ("external_prefix_cache_hits", "External prefix cache hits, in cached tokens."),
    ("mm_cache_queries", "Multi-modal cache queries, in queried items."),
    ("mm_cache_hits", "Multi-modal cache hits, in cached items."),
];
const KV_LIFETIME: &str = "KV cache block lifetime from allocation to eviction (sampled).";
const KV_IDLE: &str = "Idle time before KV cache block eviction (sampled).";
const KV_REUSE: &str = "Time gaps between consecutive KV cache block accesses (sampled).";

struct Page<'a> {
    text: String,
    context: &'a MetricsContext,
}

impl Page<'_> {
    fn gauges(&mut self, scheduler: &Scheduler, sleep: SleepLevel) {
        let waiting = scheduler.waiting() as f64;
        self.gauge("num_requests_running", "Requests in model execution batches.", &[("", scheduler.running() as f64)]);
        self.gauge("num_requests_waiting", "Requests waiting to be processed.", &[("", waiting)]);
        self.gauge(
            "num_requests_waiting_by_reason",
            "Waiting requests by reason: capacity or deferred.",
            &[(r#"reason="capacity""#, waiting), (r#"reason="deferred""#, 0.0)],
        );
        let state = |level: SleepLevel| if sleep == level { 1.0 } else { 0.0 };
        self.gauge(
            "engine_sleep_state",
            "Engine sleep state: awake, sleep level 1 (weights offloaded) or 2 (all discarded).",
            &[
                (r#"sleep_state="awake""#, state(0)),
                (r#"sleep_state="weights_offloaded""#, state(1)),
                (r#"sleep_state="discard_all""#, state(2)),
            ],
        );
        self.gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", &[("", scheduler.kv_usage())]);
    }

    fn cache_counters(&mut self, stats: &Stats) {
        let (queries, hits) = (stats.prefix_cache_queries, stats.prefix_cache_hits);
        self.counter("prefix_cache_queries", "Prefix cache queries, in queried tokens.", &[("", queries)]);
        self.counter("prefix_cache_hits", "Prefix cache hits, in cached tokens.", &[("", hits)]);
        self.never_moving(OTHER_CACHES);
        self.counter("num_preemptions", "Cumulative number of preemptions.", &[("", stats.preemptions)]);
    }

    fn token_counters(&mut self, stats: &Stats) {
        let cached = stats.prompt_tokens_cached;
        self.counter("prompt_tokens", "Number of prefill tokens processed.", &[("", stats.prompt_tokens)]);
        self.counter(
            "prompt_tokens_by_source",
            "Number of prompt tokens by source.",
            &[
                (r#"source="local_compute""#, stats.prompt_tokens_computed),
                (r#"source="local_cache_hit""#, cached),
                (r#"source="external_kv_transfer""#, 0),
            ],
        );
        self.counter("prompt_tokens_cached", "Number of cached prompt tokens.", &[("", cached)]);
        self.counter(
            "prompt_tokens_cached_by_source",
            "Prefix-cache hit tokens by the cache tier that supplied them.",
            &[
                (r#"source="device""#, cached),
                (r#"source="host""#, 0),
                (r#"source="p2p""#, 0),
                (r#"source="disk""#, 0),
                (r#"source="external_unspecified""#, 0),
            ],
        );
        self.counter("generation_tokens", "Number of generation tokens processed.", &[("", stats.generation_tokens)]);
    }

    fn request_counters(&mut self, stats: &Stats) {
        self.counter(
            "request_success",
            "Count of successfully processed requests.",
            &[
                (r#"finished_reason="stop""#, stats.finished_stop),
                (r#"finished_reason="length""#, stats.finished_length),
                (r#"finished_reason="abort""#, stats.finished_abort),
                (r#"finished_reason="error""#, 0),
                (r#"finished_reason="repetition""#, 0),
            ],
        );
        let help = "Admission attempts rejected by a queue limit, by reason.";
        let model = format!(r#"model_name="{}""#, self.context.model_name);
        let reasons = [("max_num_queued_reqs", stats.rejected as f64), ("max_num_queued_tokens", 0.0)];
        self.header("admission_rejections_total", help, "counter");
        for (reason, value) in reasons {
            self.line("admission_rejections_total", &format!(r#"{model},reason="{reason}""#), value);
        }
        self.header("admission_rejections_created", help, "gauge");
        for (reason, _) in reasons {
            self.line("admission_rejections_created", &format!(r#"{model},reason="{reason}""#), self.context.created);
        }
    }

    fn request_histograms(&mut self, stats: &Stats) {
        let all: [(&str, &str, &Histogram); 16] = [
            ("request_prompt_tokens", "Prefill tokens of a request.", &stats.request_prompt_tokens),
            ("request_generation_tokens", "Generation tokens of a request.", &stats.request_generation_tokens),
            ("iteration_tokens_total", "Tokens per engine step.", &stats.iteration_tokens),
            (
                "request_max_num_generation_tokens",
                "Maximum number of requested generation tokens.",
                &stats.request_max_generation_tokens,
            ),
            ("request_params_n", "The n request parameter.", &stats.request_n),
            ("request_params_max_tokens", "The max_tokens request parameter.", &stats.request_max_tokens),
            ("time_to_first_token_seconds", "Time to first token in seconds.", &stats.ttft),
            ("inter_token_latency_seconds", "Inter-token latency in seconds.", &stats.inter_token),
            (
                "request_time_per_output_token_seconds",
                "Time per output token of a request in seconds.",
                &stats.per_output_token,
            ),
            ("e2e_request_latency_seconds", "End to end request latency in seconds.", &stats.e2e),
            ("request_queue_time_seconds", "Time spent in WAITING phase in seconds.", &stats.queue),
            ("request_inference_time_seconds", "Time spent in RUNNING phase in seconds.", &stats.inference),
            ("request_prefill_time_seconds", "Time spent in PREFILL phase in seconds.", &stats.prefill),
            ("request_decode_time_seconds", "Time spent in DECODE phase in seconds.", &stats.decode),
            ("request_num_preemptions", "Times a request was preempted.", &stats.request_preemptions),
            (
                "request_prefill_kv_computed_tokens",
                "New KV tokens computed during prefill (without cached ones).",
                &stats.prefill_computed_tokens,
            ),
        ];
        for (name, help, histogram) in all {
            self.histogram(name, help, histogram);
        }
    }

    fn never_moving(&mut self, counters: &[(&str, &str)]) {
        for (name, help) in counters {
            self.counter(name, help, &[("", 0)]);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, samples: &[(&str, f64)]) {
        self.header(name, help, "gauge");
        for (labels, value) in samples {
            self.sample_with(name, labels, *value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, samples: &[(&str, u64)]) {
        let (total, created) = (format!("{name}_total"), format!("{name}_created"));
        self.header(&total, help, "counter");
        for (labels, value) in samples {
            self.sample_with(&total, labels, *value as f64);
        }
        self.header(&created, help, "gauge");
        for (labels, _) in samples {
            self.sample_with(&created, labels, self.context.created);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.header(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            self.sample_with(&bucket, &format!(r#"le="{}""#, number(bound)), count as f64);
        }
        self.sample_with(&format!("{name}_count"), "", histogram.count() as f64);
        self.sample_with(&format!("{name}_sum"), "", histogram.sum());
        let created = format!("{name}_created");
        self.header(&created, help, "gauge");
        self.sample_with(&created, "", self.context.created);
    }

    fn header(&mut self, name: &str, help: &str, kind: &str) {
        push(&mut self.text, format_args!("# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}\n"));
    }

    /// A sample with the labels `engine` and `model_name` and `labels`, in the order of their names.
    fn sample_with(&mut self, name: &str, labels: &str, value: f64) {
        let model = &self.context.model_name;
        let labels = match labels {
            "" => format!(r#"engine="0",model_name="{model}""#),
            // The information metric has no model_name.
            info if info.starts_with('_') => info.to_owned(),
            after if *after > *"model_name" => format!(r#"engine="0",model_name="{model}",{after}"#),
            before => format!(r#"engine="0",{before},model_name="{model}""#),
        };
        self.line(name, &labels, value);
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        push(&mut self.text, format_args!("vllm:{name}{{{labels}}} {}\n", number(value)));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(arguments).unwrap_or_default();
}

/// A number as the Python client writes it: always with a point or an exponent, exponents from a million on.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:?}");
    let Some((whole, fraction)) = text.split_once('.') else { return text };
    if value <= 0.0 || whole.len() <= 6 || fraction.contains('e') {
        return text;
    }
    let mantissa = format!("{}.{}{fraction}", &whole[..1], &whole[1..]);
    format!("{}e+{:02}", mantissa.trim_end_matches(['0', '.']), whole.len() - 1)
}

fn escape(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_the_python_client_writes_them() {
        assert_eq!(number(0.0), "0.0");
        assert_eq!(number(20.0), "20.0");
        assert_eq!(number(0.205), "0.205");
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(500_000.0), "500000.0");
        assert_eq!(number(1_000_000.0), "1e+06");
        assert_eq!(number(1_795_329_713.25), "1.79532971325e+09");
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
