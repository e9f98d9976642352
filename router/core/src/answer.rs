//! What an engine's answer means for the request: deliver it, or try another engine before the client saw a byte.
//!
//! The shapes are those of a real vLLM 0.32 under overload and while it shuts down (captured; see the tests).

use memchr::memmem;
use serde::Deserialize;

/// How much of an answer is looked at before it is delivered as it is, in bytes. vLLM's own errors have about 200.
pub const MAX_PEEK_BYTES: usize = 8 * 1024;

/// A vLLM that drains still answers `/health` with 200, and new requests with a 500 that says this.
const DRAINING: &[u8] = b"cannot schedule new futures after shutdown";

/// What to do with an answer, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadVerdict {
    /// Send it to the client as it is.
    Deliver,
    /// The engine has no room: try another one.
    Full,
    /// An event stream: an engine without room may say so in the first event ([`judge_first_event`]).
    PeekFirstEvent,
    /// A 500: it may come from an engine that drains ([`is_draining_error`]).
    PeekError,
}

/// Judges an answer by status and whether it is an event stream. 4xx are the client's and are delivered.
pub fn judge_head(status: u16, event_stream: bool) -> HeadVerdict {
    match status {
        429 | 503 => HeadVerdict::Full,
        500 => HeadVerdict::PeekError,
        200 if event_stream => HeadVerdict::PeekFirstEvent,
        _ => HeadVerdict::Deliver,
    }
}

/// Whether the body of a 500 is the one of an engine that drains.
pub fn is_draining_error(body: &[u8]) -> bool {
    memmem::find(body, DRAINING).is_some()
}

/// What the first bytes of an event stream say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstEvent {
    /// It may be an error event; more bytes are needed to tell.
    NeedMore,
    /// An ordinary stream.
    Deliver,
    /// The engine has no room: try another one.
    Full,
}

#[derive(Deserialize)]
struct ErrorEvent {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<u16>,
}

/// Judges the first bytes of an event stream. Cheap unless they look like an error event.
pub fn judge_first_event(bytes: &[u8]) -> FirstEvent {
    const START: &[u8] = b"data:";
    let Some(data) = bytes.strip_prefix(START) else {
        return if START.starts_with(bytes) { FirstEvent::NeedMore } else { FirstEvent::Deliver };
    };
    const ERROR: &[u8] = b"{\"error\":";
    let data = data.trim_ascii_start();
    if !data.starts_with(ERROR) {
        return if ERROR.starts_with(data) { FirstEvent::NeedMore } else { FirstEvent::Deliver };
    }
    let Some(end) = memchr::memchr2(b'\n', b'\r', data) else {
        return if bytes.len() < MAX_PEEK_BYTES { FirstEvent::NeedMore } else { FirstEvent::Deliver };
    };
    match serde_json::from_slice::<ErrorEvent>(&data[..end]) {
        Ok(ErrorEvent { error: ErrorBody { code: Some(429 | 503) } }) => FirstEvent::Full,
        Ok(_) | Err(_) => FirstEvent::Deliver,
    }
}

/// Milliseconds that a `Retry-After` header asks to wait; its date form is not used by engines and ignored.
pub fn retry_after(value: &str) -> Option<u64> {
    // An engine must not be able to take itself out for hours.
    const LONGEST_SECONDS: u64 = 60;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(seconds.min(LONGEST_SECONDS) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured from vLLM 0.32.0: in-stream overload, and a new request after SIGTERM.
    const IN_STREAM: &[u8] = b"data: {\"error\": {\"message\": \"The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.\", \"type\": \"Service Unavailable\", \"param\": null, \"code\": 503}}\n\ndata: [DONE]\n\n";
    const AFTER_SIGTERM: &[u8] = b"{\"error\":{\"message\":\"cannot schedule new futures after shutdown\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}";

    #[test]
    fn the_captured_overload_in_a_stream_is_full_however_it_is_cut() {
        assert_eq!(judge_first_event(IN_STREAM), FirstEvent::Full);
        let line_end = IN_STREAM.iter().position(|byte| *byte == b'\n').expect("a line");
        for end in 0..line_end {
            assert_eq!(judge_first_event(&IN_STREAM[..end]), FirstEvent::NeedMore, "{end}");
        }
    }

    #[test]
    fn ordinary_streams_are_delivered_at_the_first_byte_that_tells() {
        assert_eq!(judge_first_event(b"data: {\"id\":\"chatcmpl"), FirstEvent::Deliver);
        assert_eq!(judge_first_event(b"event: message_start\n"), FirstEvent::Deliver);
        assert_eq!(judge_first_event(b": comment"), FirstEvent::Deliver);
    }

    #[test]
    fn other_errors_in_a_stream_belong_to_the_client() {
        assert_eq!(
            judge_first_event(b"data: {\"error\": {\"message\":\"too long\",\"code\": 400}}\n\n"),
            FirstEvent::Deliver
        );
        assert_eq!(judge_first_event(b"data: {\"error\": \"text\"}\n\n"), FirstEvent::Deliver);
    }

    #[test]
    fn an_endless_first_event_is_delivered() {
        let mut long = b"data: {\"error\": {\"message\":\"".to_vec();
        long.resize(MAX_PEEK_BYTES, b'x');
        assert_eq!(judge_first_event(&long), FirstEvent::Deliver);
    }

    #[test]
    fn the_captured_drain_error_is_known() {
        assert!(is_draining_error(AFTER_SIGTERM));
        assert!(!is_draining_error(b"{\"error\":{\"message\":\"division by zero\"}}"));
    }

    #[test]
    fn heads_are_judged_by_status() {
        assert_eq!(judge_head(200, false), HeadVerdict::Deliver);
        assert_eq!(judge_head(200, true), HeadVerdict::PeekFirstEvent);
        assert_eq!(judge_head(503, false), HeadVerdict::Full);
        assert_eq!(judge_head(429, false), HeadVerdict::Full);
        assert_eq!(judge_head(500, false), HeadVerdict::PeekError);
        for status in [201, 400, 401, 404, 408, 422, 502, 504] {
            assert_eq!(judge_head(status, false), HeadVerdict::Deliver, "{status}");
        }
    }

    #[test]
    fn retry_after_takes_seconds_and_has_a_ceiling() {
        assert_eq!(retry_after(" 2 "), Some(2_000));
        assert_eq!(retry_after("86400"), Some(60_000));
        assert_eq!(retry_after("Sun, 22 Nov 2026 06:37:35 GMT"), None);
    }
}
