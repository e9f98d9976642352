//! One bounded GET to an engine, for `/v1/models` and `/health`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};

use crate::live::EngineLive;
use crate::pool::connect;

/// Model lists have a few KB, even with hundreds of adapters.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection, or none that lasted.
    #[error("{0}")]
    Connection(String),
    /// Too slow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("status {0}")]
    Status(u16),
    /// The body is not what was asked for.
    #[error("unusable answer: {0}")]
    Body(String),
}

/// The body of `path`.
///
/// # Errors
/// If there is no whole answer with status 200 within `timeout`.
pub async fn fetch(engine: &EngineLive, path: &'static str, timeout: Duration) -> Result<Bytes, FetchError> {
    tokio::time::timeout(timeout, get(engine, path, timeout)).await.unwrap_or(Err(FetchError::Timeout(timeout)))
}

async fn get(engine: &EngineLive, path: &'static str, timeout: Duration) -> Result<Bytes, FetchError> {
    let lost = |error: hyper::Error| FetchError::Connection(error.to_string());
    let mut connection =
        connect(&engine.url, timeout).await.map_err(|error| FetchError::Connection(error.to_string()))?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert(header::HOST, engine.host.clone());
    let answer = connection.sender.send_request(request).await.map_err(lost)?;
    if answer.status() != http::StatusCode::OK {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| FetchError::Body(error.to_string()))
}
