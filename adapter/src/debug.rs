//! `/debug/metrics` on the admin port: what an HPA would read, how old it is, and why. `adapter explain` shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter_core::select::select;
use adapter_core::{Record, Rule, Selector};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Slot, Store};

/// One rule as it stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleReport {
    /// Name of the metric.
    pub rule: String,
    /// The query that collects it from Prometheus.
    pub promql: String,
    /// Values sampled longer ago do not answer.
    pub max_age_seconds: f64,
    /// Where the last good collection came from.
    pub source: Option<String>,
    /// How long ago that was.
    pub collected_seconds_ago: Option<f64>,
    /// Why the last collection failed, if it did.
    pub failure: Option<String>,
    /// Series that are known.
    pub series: usize,
    /// What a request would be answered, if namespace or selector was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerReport>,
}

/// What a request would be answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerReport {
    /// The values, which HPA adds up.
    pub items: Vec<ItemReport>,
    /// The error instead, word for word.
    pub error: Option<String>,
}

/// One value.
#[derive(Debug, Serialize, Deserialize)]
pub struct ItemReport {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
    /// How long ago it was sampled at its origin.
    pub age_seconds: f64,
    /// It was missing and is zero by the rule's policy.
    pub is_zero_by_policy: bool,
    /// A last good value is answered, because of this.
    pub problem: Option<String>,
}

/// What to report.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    metric: Option<String>,
    namespace: Option<String>,
    selector: Option<String>,
}

/// The debug routes.
pub fn routes(store: Arc<Store>) -> Router {
    Router::new().route("/debug/metrics", get(metrics)).with_state(store)
}

async fn metrics(State(store): State<Arc<Store>>, Query(parameters): Query<Parameters>) -> Response {
    let selector = match Selector::parse(parameters.selector.as_deref().unwrap_or_default()) {
        Ok(selector) => selector,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let now = process::clock::now();
    let slots = store.slots();
    let wanted = |slot: &&Arc<Slot>| parameters.metric.as_ref().is_none_or(|name| *name == slot.rule.name);
    let reports: Vec<RuleReport> = slots
        .values()
        .filter(wanted)
        .map(|slot| report(&slot.rule, &slot.record(), parameters.namespace.as_deref(), &selector, now))
        .collect();
    if reports.is_empty() && parameters.metric.is_some() {
        let known: Vec<&str> = slots.keys().map(String::as_str).collect();
        return (StatusCode::NOT_FOUND, format!("no rule has this name; there are {}\n", known.join(", ")))
            .into_response();
    }
    Json(reports).into_response()
}

fn report(rule: &Rule, record: &Record, namespace: Option<&str>, selector: &Selector, now: Timestamp) -> RuleReport {
    let answer = namespace.map(|namespace| match select(rule, record, namespace, selector, now) {
        Err(refusal) => AnswerReport { items: Vec::new(), error: Some(refusal.message) },
        Ok(items) => {
            let items = items.into_iter().map(|item| ItemReport {
                age_seconds: now.duration_since(item.sampled_at).as_secs_f64(),
                labels: item.labels,
                value: item.value,
                is_zero_by_policy: item.is_zero_by_policy,
                problem: item.problem,
            });
            AnswerReport { items: items.collect(), error: None }
        }
    });
    RuleReport {
        rule: rule.name.clone(),
        promql: rule.promql(),
        max_age_seconds: rule.max_age.as_secs_f64(),
        source: record.last_success.as_ref().map(|(_, source)| source.clone()),
        collected_seconds_ago: record.last_success.as_ref().map(|(at, _)| now.duration_since(*at).as_secs_f64()),
        failure: record.failure.as_ref().map(|failure| format!("{}: {}", failure.source, failure.message)),
        series: record.len(),
        answer,
    }
}
