//! Measures as PromQL: one query per rule, for all namespaces at once.
//!
//! Two traps are avoided in every query:
//! - Prometheus answers with samples up to five minutes old when it stopped scraping without marking series as stale
//!   (after its own restart). Gauges are therefore joined with a fresh `up` of the same target.
//! - Engines that serve one name under several models share one router queue. It is split by their scraped engines.

use std::time::Duration;

use crate::rule::{Aggregate, Component, Function, Measure};

/// A gauge that every vLLM shows; its labels connect models with served names.
const SERVED_BY: &str =
    r#"group by (namespace, model, model_name, pod, instance) (vllm:num_requests_running{component="serving-engine"})"#;

/// The query of a rule: the first measure that has a value, per namespace and model.
pub fn first_of(measures: &[Measure], max_age: Duration) -> String {
    let queries: Vec<String> = measures.iter().map(|measure| labelled(measure, max_age)).collect();
    queries.join("\nor on (namespace, model)\n")
}

/// The query that tells which targets were scraped, how long ago (seconds by Prometheus' own clock, so that clocks need
/// not agree), and which could not be.
pub fn targets() -> String {
    let up = r#"up{component=~"serving-engine|router|autoscaler"}"#;
    format!(
        "label_replace((time() - timestamp({up})) and ({up} == 1), \"scrape\", \"ok\", \"\", \"\")\n\
         or\n\
         label_replace((time() - timestamp({up})) and ({up} == 0), \"scrape\", \"failed\", \"\", \"\")"
    )
}

fn labelled(measure: &Measure, max_age: Duration) -> String {
    measure.labels.iter().fold(aggregated(measure, max_age), |query, (name, value)| {
        format!("label_replace({query}, \"{name}\", \"{value}\", \"\", \"\")")
    })
}

fn aggregated(measure: &Measure, max_age: Duration) -> String {
    let samples = sampled(measure, max_age);
    if let Function::Quantile { quantile, .. } = measure.function {
        return format!("histogram_quantile({quantile}, sum by (namespace, model, le) ({samples}))");
    }
    if measure.is_split_by_served_name {
        return format!(
            "sum by (namespace, model) (\n  \
               count by (namespace, model, model_name) ({SERVED_BY})\n  \
               / on (namespace, model_name) group_left () count by (namespace, model_name) ({SERVED_BY})\n  \
               * on (namespace, model_name) group_left () sum by (namespace, model_name) ({samples})\n)"
        );
    }
    let operator = match measure.aggregate {
        Aggregate::Sum => "sum",
        Aggregate::Average => "avg",
        Aggregate::Max => "max",
    };
    format!("{operator} by (namespace, model) ({samples})")
}

/// The series of all names that mean the same.
fn sampled(measure: &Measure, max_age: Duration) -> String {
    let series: Vec<String> = measure.metrics.iter().map(|name| one_series(name, measure)).collect();
    let any = series.join(" or ");
    match measure.function {
        Function::Rate { .. } | Function::Quantile { .. } => any,
        Function::Value => {
            let any = if series.len() > 1 { format!("({any})") } else { any };
            format!("{any} and on (job, instance) {}", fresh(measure.component, max_age))
        }
    }
}

fn one_series(name: &str, measure: &Measure) -> String {
    let selector = format!("component=\"{}\"", measure.component);
    match measure.function {
        Function::Value => format!("{name}{{{selector}}}"),
        Function::Rate { window } => format!("rate({name}{{{selector}}}[{}s])", window.as_secs()),
        Function::Quantile { window, .. } => format!("rate({name}_bucket{{{selector}}}[{}s])", window.as_secs()),
    }
}

fn fresh(component: Component, max_age: Duration) -> String {
    format!("(time() - timestamp(up{{component=\"{component}\"}}) <= {})", max_age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_rules_ask_one_query_each() {
        let rules = crate::defaults::rules(&crate::defaults::Timing::default());
        let queries: Vec<String> = rules.iter().map(|rule| format!("{}:\n{}", rule.name, rule.promql())).collect();
        insta::assert_snapshot!(queries.join("\n\n"));
    }

    #[test]
    fn the_targets_query_tells_scraped_from_failed() {
        insta::assert_snapshot!(targets());
    }
}
