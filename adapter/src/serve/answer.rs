//! Bodies: the values of a metric, errors, and small documents.

use adapter_api::external::{ExternalMetricValue, ExternalMetricValueList};
use adapter_api::{Quantity, Reason, Status};
use adapter_core::select::{Item, select};
use adapter_core::{RefusalKind, Rule, Selector};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::{Body, path};
use crate::store::Store;

/// The values of a metric in a namespace.
pub fn values(
    store: &Store,
    namespace: &str,
    metric: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Response<Body> {
    match items(store, namespace, metric, query, headers, now) {
        Ok(list) => json(StatusCode::OK, &list),
        Err(status) => failure(&status),
    }
}

fn items(
    store: &Store,
    namespace: &str,
    metric: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<ExternalMetricValueList, Status> {
    if !takes_json(headers) {
        return Err(Status::failure(Reason::NotAcceptable, "only application/json is served"));
    }
    let Some(slot) = store.slot(metric) else {
        let text = format!("no rule has the name {metric}; `adapter check FILE` lists the rules of a configuration");
        return Err(Status::failure(Reason::NotFound, text));
    };
    let bad_request = |text: String| Status::failure(Reason::BadRequest, format!("rule {metric}: {text}"));
    let text = path::parameter(query, "labelSelector").map_err(bad_request)?.unwrap_or_default();
    let selector = Selector::parse(&text).map_err(|error| bad_request(error.to_string()))?;
    let items = select(&slot.rule, &slot.record(), namespace, &selector, now).map_err(|refusal| {
        let reason = match refusal.kind {
            RefusalKind::Ambiguous => Reason::BadRequest,
            RefusalKind::NotCollected | RefusalKind::NoMatch | RefusalKind::Unknown | RefusalKind::TooOld => {
                Reason::ServiceUnavailable
            }
        };
        Status::failure(reason, refusal.message)
    })?;
    let values: Result<Vec<_>, Status> = items.into_iter().map(|item| value(&slot.rule, item)).collect();
    Ok(ExternalMetricValueList::new(values?))
}

fn value(rule: &Rule, item: Item) -> Result<ExternalMetricValue, Status> {
    let value = Quantity::from_f64(item.value)
        .map_err(|error| Status::failure(Reason::ServiceUnavailable, format!("rule {}: {error}", rule.name)))?;
    if value.is_saturated() {
        tracing::warn!(rule = rule.name, value = item.value, "the value is larger than a quantity can say");
    }
    Ok(ExternalMetricValue {
        metric_name: rule.name.clone(),
        metric_labels: item.labels,
        timestamp: item.sampled_at,
        window_seconds: rule.window().and_then(|window| i64::try_from(window.as_secs()).ok()),
        value,
    })
}

/// Whether the client takes JSON. HPA prefers protobuf and takes anything: `application/vnd.kubernetes.protobuf, */*`.
fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return true;
    }
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_json = matches!(parts.next(), Some("*/*" | "application/*" | "application/json"));
        // `as=Table` asks for another document; kubectl sends plain JSON after it.
        is_json && !parts.any(|parameter| parameter.starts_with("as="))
    })
}

/// An error body. It never carries Retry-After: HPA's client would sleep and try again inside its worker.
pub fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(code, status)
}

/// A JSON body.
pub fn json(code: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => body(code, HeaderValue::from_static("application/json"), bytes.into()),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written as JSON")
        }
    }
}

/// A plain text body.
pub fn text(code: StatusCode, text: &'static str) -> Response<Body> {
    body(code, HeaderValue::from_static("text/plain; charset=utf-8"), Bytes::from_static(text.as_bytes()))
}

/// Any body.
pub fn body(code: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
