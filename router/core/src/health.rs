//! When an engine that failed is taken out of routing until a probe of its `/health` succeeds.

/// How a request failed before the first byte of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable or timed out.
    Connect,
    /// The connection broke after the request was sent.
    Reset,
    /// No answer within the time allowed.
    Timeout,
}

impl Failure {
    /// The reason as metrics and logs name it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
        }
    }
}

/// Whether this failure takes the engine out; `in_a_row` counts failures without a success between, this one included.
///
/// Nobody listening is proof enough. A broken connection may be the fault of one request, so it takes two: a single bad
/// request must not take out every engine it is retried on.
pub fn ejects(failure: Failure, in_a_row: u32) -> bool {
    match failure {
        Failure::Connect => true,
        Failure::Reset => in_a_row >= 2,
        // A long prompt on a busy engine may take its time: slow is not dead, and probes tell.
        Failure::Timeout => in_a_row >= 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_listener_ejects_at_once_and_resets_need_company() {
        assert!(ejects(Failure::Connect, 1));
        assert!(!ejects(Failure::Reset, 1));
        assert!(ejects(Failure::Reset, 2));
        assert!(!ejects(Failure::Timeout, 2));
        assert!(ejects(Failure::Timeout, 3));
    }
}
