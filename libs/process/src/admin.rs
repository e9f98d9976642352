//! The admin server of every program: `/metrics`, `/livez`, `/readyz` and the program's own debug pages.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;
use crate::resource_usage::ResourceUsage;

/// The admin address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for the admin server: {source}; choose another --admin-address")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// A registry that holds `<program>_build_info` and the `process_*` metrics; the program adds its own.
#[must_use]
pub fn registry(program: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version }).set(1);
    registry.register(format!("{program}_build_info"), "Version of the program, always 1", build);
    registry.register_collector(Box::new(ResourceUsage));
    registry
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// The routes every admin server has, with `extra` (debug pages) beside them.
pub fn routes(registry: Arc<Registry>, readiness: Readiness, extra: Router) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Shared { registry, readiness })
        .merge(extra)
}

/// Binds `address` and serves until `stop`; bind errors come at once, before anything else starts.
///
/// # Errors
/// If the address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<tokio::net::TcpListener, AdminError> {
    tokio::net::TcpListener::bind(address).await.map_err(|source| AdminError { address, source })
}

/// Serves `routes` on `listener` until `stop` is cancelled.
///
/// # Errors
/// If accepting fails for good.
pub async fn serve(listener: tokio::net::TcpListener, routes: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &shared.registry).is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written\n").into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let pending = shared.readiness.pending();
    if pending.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", pending.join("\n"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started(readiness: Readiness) -> (String, CancellationToken) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let routes = routes(Arc::new(registry("example", "1.2.3")), readiness, Router::new());
        tokio::spawn(serve(listener, routes, stop.clone()));
        (base, stop)
    }

    #[tokio::test]
    async fn readyz_names_what_is_missing_and_turns_ready() {
        crate::install_crypto_provider();
        let readiness = Readiness::default();
        readiness.wait_for("configuration", "not loaded");
        let (base, _stop) = started(readiness.clone()).await;
        let answer = reqwest::get(format!("{base}/readyz")).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(answer.text().await.unwrap().contains("configuration: not loaded"));
        readiness.clear("configuration");
        assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), 200);
        assert_eq!(reqwest::get(format!("{base}/livez")).await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn metrics_hold_build_and_process_figures() {
        crate::install_crypto_provider();
        let (base, _stop) = started(Readiness::default()).await;
        let text = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("example_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("process_cpu_seconds_total") && text.contains("process_resident_memory_bytes"), "{text}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_that_names_the_flag() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let error = bind(taken.local_addr().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("--admin-address"), "{error}");
    }
}
