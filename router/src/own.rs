//! The few paths of the data port that the router answers itself.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::body::Body;
use crate::shared::Shared;

/// The router's own answer, if the path is one of its own.
pub fn answer<B>(shared: &Shared, request: &Request<B>) -> Option<Response<Body>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return None;
    }
    let (status, body) = match request.uri().path() {
        "/v1/models" => (StatusCode::OK, shared.snapshot.load().model_list.clone()),
        "/engines" => (StatusCode::OK, shared.snapshot.load().engine_list.clone()),
        "/version" => (
            StatusCode::OK,
            Bytes::from_static(concat!("{\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}").as_bytes()),
        ),
        "/health" if shared.is_draining() => {
            (StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"{\"status\":\"draining\"}"))
        }
        "/health" => (StatusCode::OK, Bytes::from_static(b"{\"status\":\"healthy\"}")),
        _ => return None,
    };
    let mut answer = Response::new(Body::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(answer)
}
