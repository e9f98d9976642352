//! The web page: static files packed into the program, and one JSON endpoint that it polls.
//!
//! The plots are drawn by uPlot 1.6.32 (MIT, `static/uplot.LICENSE`), packed as published; nothing is fetched from
//! elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::board::Board;

/// Everything comes from here; nothing may be framed, and no other host is ever asked.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'";

macro_rules! file {
    ($kind:literal, $path:literal) => {
        get(|| async { file($kind, include_bytes!(concat!("static/", $path))) })
    };
}

/// The page's routes.
pub fn routes(board: Arc<Board>) -> Router {
    Router::new()
        .route("/", file!("text/html; charset=utf-8", "index.html"))
        .route("/page.js", file!("text/javascript; charset=utf-8", "page.js"))
        .route("/page.css", file!("text/css; charset=utf-8", "page.css"))
        .route("/uplot.min.js", file!("text/javascript; charset=utf-8", "uplot.min.js"))
        .route("/uplot.min.css", file!("text/css; charset=utf-8", "uplot.min.css"))
        .route("/uplot.LICENSE", file!("text/plain; charset=utf-8", "uplot.LICENSE"))
        .route("/api/state", get(state))
        .with_state(board)
}

fn file(kind: &'static str, content: &'static [u8]) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The files change with the program, whose address stays the same.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

/// What a reader has already.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Known {
    /// Time of its last point, milliseconds since 1970.
    after: i64,
    /// Number of the first event it lacks.
    events: u64,
}

async fn state(State(board): State<Arc<Board>>, Query(known): Query<Known>) -> Response {
    match board.answer(known.after, known.events) {
        Ok(body) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("state not written: {error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn served() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes(Arc::new(Board::default()))).await });
        base
    }

    #[tokio::test]
    async fn the_page_and_everything_it_names_are_served() {
        process::install_crypto_provider();
        let base = served().await;
        let html = reqwest::get(&base).await.unwrap().text().await.unwrap();
        let named = html.split('"').filter(|part| part.starts_with('/') && part.contains('.'));
        let named: Vec<&str> = named.collect();
        assert!(named.len() >= 4, "{named:?}");
        for path in named {
            assert_eq!(reqwest::get(format!("{base}{path}")).await.unwrap().status(), 200, "{path}");
        }
    }

    #[tokio::test]
    async fn a_mistyped_question_is_refused_and_names_the_parameter() {
        process::install_crypto_provider();
        let base = served().await;
        let answer = reqwest::get(format!("{base}/api/state?since=4")).await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("since"));
        assert_eq!(reqwest::get(format!("{base}/api/state?after=4&events=0")).await.unwrap().status(), 200);
    }
}
