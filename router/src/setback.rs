//! Why an attempt on an engine did not give an answer for the client.

use router_core::Failure;

/// Every value of the label `reason` on `router_upstream_errors_total`.
pub const REASONS: &[&str] = &["connect", "reset", "timeout", "full", "draining", "mid_stream", "http_5xx"];

/// An attempt that ended before the first byte went to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The engine did not answer.
    Failed(Failure),
    /// The engine has no room; with its `Retry-After` in milliseconds, if it sent one.
    Full(Option<u64>),
    /// The engine is shutting down.
    Draining,
}

impl Setback {
    /// The reason as metrics and logs name it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.reason(),
            Self::Full(_) => "full",
            Self::Draining => "draining",
        }
    }
}
