//! The default rules: design contract "Metrics that HPA sees".
//!
//! Sums are for `AverageValue` targets, averages and quantiles for `Value` targets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rule::{Aggregate, Component, Expression, Function, Measure, Missing, Multiple, Rule};

/// Times of the default rules, and of rules that do not say their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between two collections.
    pub interval: Duration,
    /// How far rates and quantiles look back.
    pub window: Duration,
    /// Values sampled longer ago do not answer.
    pub max_age: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            // Engines are scraped each 5 s; asking more often finds nothing new.
            interval: Duration::from_secs(5),
            // Twelve samples at 5 s, four at Prometheus' usual 15 s: two are the least a rate needs.
            window: Duration::from_secs(60),
            // Two of HPA's periods: long enough for a Prometheus restart, short enough that nobody scales on history.
            max_age: Duration::from_secs(30),
        }
    }
}

/// All default rules, in alphabetical order.
pub fn rules(timing: &Timing) -> Vec<Rule> {
    let window = timing.window;
    let mut rules = engine_rules(timing);
    rules.push(rule(
        "router_queue_depth",
        vec![Measure { is_split_by_served_name: true, ..measure(Component::Router, &["router_queue_depth"]) }],
        Missing::Zero,
        timing,
    ));
    let arrivals = Measure {
        function: Function::Rate { window },
        is_split_by_served_name: true,
        labels: BTreeMap::from([("counts".into(), "arrivals".into())]),
        ..measure(Component::Router, &["router_requests_received_total"])
    };
    let completions = Measure {
        function: Function::Rate { window },
        labels: BTreeMap::from([("counts".into(), "completions".into())]),
        ..measure(Component::ServingEngine, &["vllm:request_success_total"])
    };
    rules.push(rule("vllm_requests_per_second", vec![arrivals, completions], Missing::Zero, timing));
    for name in ["engine_desired_replicas", "engine_forecast_requests_per_second"] {
        let wish = Measure { aggregate: Aggregate::Max, ..measure(Component::Autoscaler, &[name]) };
        rules.push(rule(name, vec![wish], Missing::Error, timing));
    }
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

fn engine_rules(timing: &Timing) -> Vec<Rule> {
    let window = timing.window;
    let engine = |names: &[&str]| measure(Component::ServingEngine, names);
    let mut rules = Vec::new();
    for (name, metric) in [
        ("vllm_num_requests_waiting", "vllm:num_requests_waiting"),
        ("vllm_num_requests_running", "vllm:num_requests_running"),
    ] {
        rules.push(rule(name, vec![engine(&[metric])], Missing::Zero, timing));
    }
    for (name, metric) in [
        ("vllm_prompt_tokens_per_second", "vllm:prompt_tokens_total"),
        ("vllm_generation_tokens_per_second", "vllm:generation_tokens_total"),
    ] {
        let rate = Measure { function: Function::Rate { window }, ..engine(&[metric]) };
        rules.push(rule(name, vec![rate], Missing::Zero, timing));
    }
    let cache =
        Measure { aggregate: Aggregate::Average, ..engine(&["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]) };
    rules.push(value_rule("vllm_kv_cache_usage_perc", cache, timing));
    for (name, metrics) in [
        ("vllm_ttft_seconds_p95", &["vllm:time_to_first_token_seconds"][..]),
        (
            "vllm_inter_token_latency_seconds_p95",
            &["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"][..],
        ),
    ] {
        let quantile = Measure { function: Function::Quantile { quantile: 0.95, window }, ..engine(metrics) };
        rules.push(value_rule(name, quantile, timing));
    }
    rules
}

fn measure(component: Component, metrics: &[&str]) -> Measure {
    Measure {
        metrics: metrics.iter().map(|&name| name.to_owned()).collect(),
        component,
        function: Function::Value,
        aggregate: Aggregate::Sum,
        is_split_by_served_name: false,
        labels: BTreeMap::new(),
    }
}

fn rule(name: &str, measures: Vec<Measure>, missing: Missing, timing: &Timing) -> Rule {
    Rule {
        name: name.to_owned(),
        expression: Expression::FirstOf(measures),
        interval: timing.interval,
        max_age: timing.max_age,
        missing,
        multiple: Multiple::Sum,
    }
}

fn value_rule(name: &str, measure: Measure, timing: &Timing) -> Rule {
    Rule { multiple: Multiple::Refuse, ..rule(name, vec![measure], Missing::Zero, timing) }
}
