#![expect(clippy::float_cmp, reason = "values pass through unchanged")]
use jiff::ToSpan;

use super::*;
use crate::defaults::{self, Timing};

const EVERY: Duration = Duration::from_secs(5);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap() + seconds.seconds()
}

fn history() -> History {
    History::new(&defaults::rules(&Timing::default()), EVERY)
}

fn engine(name: &str, model: &str) -> TargetId {
    id(Component::ServingEngine, name, model)
}

fn id(component: Component, name: &str, model: &str) -> TargetId {
    TargetId { component, namespace: "ns".into(), model: model.into(), name: name.into() }
}

fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Sample { name: name.into(), labels, value }
}

fn named(name: &str, value: f64) -> Sample {
    sample(name, &[("model_name", "served")], value)
}

fn evaluated(history: &History, rule: &str) -> Vec<(String, f64)> {
    let rule = defaults::rules(&Timing::default()).into_iter().find(|known| known.name == rule).unwrap();
    let series = history.evaluate(&rule).unwrap();
    series.iter().map(|series| (series.label("model").to_owned(), series.value)).collect()
}

#[test]
fn gauges_of_one_model_are_added_or_averaged() {
    let mut history = history();
    for (name, waiting, usage) in [("a-1", 2.0, 0.2), ("a-2", 3.0, 0.6)] {
        let page = vec![named("vllm:num_requests_waiting", waiting), named("vllm:kv_cache_usage_perc", usage)];
        history.record(&engine(name, "a"), at(0), page);
    }
    assert_eq!(evaluated(&history, "vllm_num_requests_waiting"), [("a".to_owned(), 5.0)]);
    let usage = evaluated(&history, "vllm_kv_cache_usage_perc");
    assert!((usage[0].1 - 0.4).abs() < 1e-9);
}

#[test]
fn an_older_name_counts_where_the_new_one_is_not_shown() {
    let mut history = history();
    history.record(&engine("a-1", "a"), at(0), vec![named("vllm:gpu_cache_usage_perc", 0.5)]);
    assert_eq!(evaluated(&history, "vllm_kv_cache_usage_perc"), [("a".to_owned(), 0.5)]);
}

#[test]
fn a_rate_survives_a_reset_and_counts_a_counter_that_appears() {
    let mut history = history();
    let target = engine("a-1", "a");
    for (second, total) in [(0, None), (5, Some(10.0)), (10, Some(20.0)), (15, Some(4.0)), (20, Some(6.0))] {
        let page = total.map(|total| named("vllm:prompt_tokens_total", total)).into_iter().collect();
        history.record(&target, at(second), page);
    }
    // 10 from nothing, 10 more, reset to 4, 2 more: 26 in 20 s.
    assert_eq!(evaluated(&history, "vllm_prompt_tokens_per_second"), [("a".to_owned(), 1.3)]);
}

#[test]
fn one_page_gives_no_rate_and_pages_beyond_the_window_do_not_count() {
    let mut history = history();
    let target = engine("a-1", "a");
    history.record(&target, at(0), vec![named("vllm:prompt_tokens_total", 5.0)]);
    assert!(evaluated(&history, "vllm_prompt_tokens_per_second").is_empty());
    for second in [100, 160] {
        let total = f64::from(u32::try_from(second).unwrap());
        history.record(&target, at(second), vec![named("vllm:prompt_tokens_total", total)]);
    }
    assert_eq!(evaluated(&history, "vllm_prompt_tokens_per_second"), [("a".to_owned(), 1.0)]);
}

#[test]
fn a_quantile_adds_the_buckets_of_all_engines() {
    let mut history = history();
    for name in ["a-1", "a-2"] {
        for (second, scale) in [(0, 0.0), (5, 1.0)] {
            let bucket = |le: &str, count: f64| {
                sample(
                    "vllm:time_to_first_token_seconds_bucket",
                    &[("le", le), ("model_name", "served")],
                    count * scale,
                )
            };
            let page = vec![bucket("0.5", 50.0), bucket("1.0", 100.0), bucket("+Inf", 100.0)];
            history.record(&engine(name, "a"), at(second), page);
        }
    }
    let quantile = evaluated(&history, "vllm_ttft_seconds_p95");
    assert!((quantile[0].1 - 0.95).abs() < 1e-9, "{quantile:?}");
}

#[test]
fn a_router_queue_is_split_among_models_by_their_engines() {
    let mut history = history();
    for (name, model) in [("a-1", "a"), ("a-2", "a"), ("b-1", "b")] {
        history.record(&engine(name, model), at(0), vec![named("vllm:num_requests_running", 0.0)]);
    }
    for router in ["r-1", "r-2"] {
        let page = vec![named("router_queue_depth", 3.0)];
        history.record(&id(Component::Router, router, ""), at(0), page);
    }
    let split = evaluated(&history, "router_queue_depth");
    assert_eq!(split, [("a".to_owned(), 4.0), ("b".to_owned(), 2.0)]);
}

#[test]
fn arrivals_are_preferred_and_completions_are_named_as_such() {
    let rule = defaults::rules(&Timing::default()).into_iter().find(|r| r.name == "vllm_requests_per_second").unwrap();
    let mut history = history();
    for second in [0, 10] {
        let total = f64::from(u32::try_from(second).unwrap());
        let page = vec![named("vllm:num_requests_running", 0.0), named("vllm:request_success_total", total)];
        history.record(&engine("a-1", "a"), at(second), page);
    }
    let series = history.evaluate(&rule).unwrap();
    assert_eq!((series[0].label("counts"), series[0].value), ("completions", 1.0));
    for second in [0, 10] {
        let total = 2.0 * f64::from(u32::try_from(second).unwrap());
        history.record(
            &id(Component::Router, "r", ""),
            at(second),
            vec![named("router_requests_received_total", total)],
        );
    }
    let series = history.evaluate(&rule).unwrap();
    assert_eq!((series.len(), series[0].label("counts"), series[0].value), (1, "arrivals", 2.0));
}

#[test]
fn a_failed_target_has_no_current_samples_and_a_forgotten_one_is_gone() {
    let mut history = history();
    let target = engine("a-1", "a");
    history.record(&target, at(0), vec![named("vllm:num_requests_waiting", 2.0)]);
    history.fail(&target);
    assert!(evaluated(&history, "vllm_num_requests_waiting").is_empty());
    assert_eq!(history.targets()[0].sampled_at, None);
    history.keep_only(&BTreeSet::new());
    assert!(history.targets().is_empty());
}

#[test]
fn a_page_with_too_many_series_is_cut_and_the_rest_still_counts() {
    let mut history = history();
    let many = (0..MAX_SERIES_PER_TARGET + 10)
        .map(|index| sample("vllm:num_requests_waiting", &[("engine", &format!("{index:06}"))], 1.0));
    history.record(&engine("a-1", "a"), at(0), many.collect());
    assert_eq!(evaluated(&history, "vllm_num_requests_waiting")[0].1, 5_000.0);
}
