//! `Status` errors. HPA copies `message` word for word into its conditions and events, so it is the place where a user
//! learns what is wrong.

use serde::Serialize;

/// Machine-readable reasons of the Kubernetes API that the adapter uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The selector or path cannot be understood, or asks for what would be wrong to add up.
    BadRequest,
    /// The caller could not be identified.
    Unauthorized,
    /// The caller may not read the metric.
    Forbidden,
    /// No such metric or path.
    NotFound,
    /// Only GET and HEAD are served.
    MethodNotAllowed,
    /// The request's answer cannot be given in a form the caller takes.
    NotAcceptable,
    /// The metric exists and has no value that may be trusted now.
    ServiceUnavailable,
    /// Something that must not happen did.
    InternalError,
}

impl Reason {
    /// HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// A failed answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    /// What is wrong, why, and what to do.
    pub message: String,
    /// Class of the failure.
    pub reason: Reason,
    /// HTTP status code.
    pub code: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Empty {}

impl Status {
    /// A failure with the code that belongs to its reason.
    pub fn failure(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: message.into(),
            reason,
            code: reason.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_body_of_metav1_status() {
        insta::assert_json_snapshot!(Status::failure(Reason::ServiceUnavailable, "rule x: no scraped engine"), @r#"
        {
          "kind": "Status",
          "apiVersion": "v1",
          "metadata": {},
          "status": "Failure",
          "message": "rule x: no scraped engine",
          "reason": "ServiceUnavailable",
          "code": 503
        }
        "#);
    }
}
