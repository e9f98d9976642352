//! Answers of the router's own for requests that it cannot forward, in the shape of OpenAI's errors.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::body::Body;

/// Why a request gets no engine's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// Stable word for programs, `error.code`.
    pub code: &'static str,
    /// Name of the request field at fault, `error.param`.
    pub param: Option<&'static str>,
    /// What is wrong and what to do, `error.message`.
    pub message: String,
    /// When to try again, in seconds.
    pub retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// The client has to change its request.
    pub fn client(status: StatusCode, code: &'static str, param: Option<&'static str>, message: String) -> Self {
        Self { status, code, param, message, retry_after_seconds: None }
    }

    /// No engine could take it now; trying again may help.
    pub fn unavailable(code: &'static str, message: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code, param: None, message, retry_after_seconds: Some(1) }
    }

    /// Engines failed the request.
    pub fn bad_gateway(code: &'static str, message: String) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, code, param: None, message, retry_after_seconds: None }
    }

    /// The error body.
    pub fn body(&self) -> String {
        let kind = if self.status.is_client_error() { "invalid_request_error" } else { "service_unavailable" };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}).to_string()
    }
}

impl From<Refusal> for Response<Body> {
    fn from(refusal: Refusal) -> Self {
        let mut answer = Response::new(Body::whole(Bytes::from(refusal.body())));
        *answer.status_mut() = refusal.status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = refusal.retry_after_seconds {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}
