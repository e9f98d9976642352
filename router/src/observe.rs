//! Last stage: hand the answer to the client as it comes, and measure it on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use router_core::{EventSplitter, Failure};
use tokio::time::Instant;

use crate::admit::{Admitted, REQUEST_ID};
use crate::body::Body;
use crate::headers::strip_hop_by_hop;
use crate::live::Lease;
use crate::pool::Connection;
use crate::proxy::Answer;
use crate::worker::Worker;

/// Turns the engine's answer into the client's; the body is passed on as it comes.
pub fn observe(worker: &Arc<Worker>, mut admitted: Admitted, answer: Answer) -> Response<Body> {
    let Answer { mut head, start, rest, event_stream, connection, lease } = answer;
    strip_hop_by_hop(&mut head.headers);
    if !head.headers.contains_key(REQUEST_ID) {
        head.headers.insert(REQUEST_ID, admitted.request_id.clone());
    }
    // The head of a stream comes with its first token; other answers hide it, and only their wait is known.
    let first_token = if event_stream { admitted.started.elapsed() } else { admitted.waited };
    let is_late = admitted.answered(head.status.as_u16(), first_token);
    if head.status.is_server_error() {
        let engine = &lease.target.engine;
        worker.shared.metrics.upstream_error(&admitted.model.name, &engine.id, "http_5xx");
    }
    let stream = event_stream.then(|| Stream {
        splitter: EventSplitter::default(),
        seen: None,
        may_be_slow: !is_late && head.status.is_success(),
        anthropic: admitted.uri.path().starts_with("/v1/messages"),
    });
    let mut observed = Observed {
        start: (!start.is_empty()).then_some(start),
        rest,
        passage: Some(Passage { connection, lease, worker: worker.clone(), started: admitted.started }),
        stream,
    };
    if observed.start.is_none() && observed.rest.is_end_stream() {
        observed.finish();
    }
    Response::from_parts(head, Body::Observed(Box::new(observed)))
}

/// An engine's body on its way to the client.
#[derive(Debug)]
pub struct Observed {
    start: Option<Bytes>,
    rest: Incoming,
    passage: Option<Passage>,
    stream: Option<Stream>,
}

/// What is held until the end of the answer.
#[derive(Debug)]
struct Passage {
    connection: Connection,
    lease: Lease,
    worker: Arc<Worker>,
    started: Instant,
}

/// What is followed in an event stream.
#[derive(Debug)]
struct Stream {
    splitter: EventSplitter,
    seen: Option<Seen>,
    /// Whether it counts against the objective if its tokens come too slowly; late answers count already.
    may_be_slow: bool,
    anthropic: bool,
}

/// The events of a stream that came.
#[derive(Debug)]
struct Seen {
    first: Instant,
    last: Instant,
    after_first: u32,
}

impl Observed {
    /// Next piece of the body.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(start) = self.start.take() {
            self.saw(&start);
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        if self.passage.is_none() {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.saw(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(self.broke(error)),
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// Whether the body is over.
    pub fn is_end_stream(&self) -> bool {
        self.start.is_none() && (self.passage.is_none() || self.rest.is_end_stream())
    }

    /// Bytes left.
    pub fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let start = self.start.as_ref().map_or(0, |start| start.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + start);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + start);
        }
        hint
    }

    fn saw(&mut self, data: &[u8]) {
        if let (Some(stream), Some(passage)) = (&mut self.stream, &self.passage) {
            let events = stream.splitter.feed(data).events;
            if events > 0 {
                stream.measure(events, passage);
            }
        }
        // A body of known length ends with its last byte: hyper does not ask again.
        if self.start.is_none() && self.rest.is_end_stream() {
            self.finish();
        }
    }

    /// The answer is complete: the connection can carry the next one.
    fn finish(&mut self) {
        let Some(passage) = self.passage.take() else { return };
        let target = &passage.lease.target;
        target.metrics.duration.observe(passage.started.elapsed().as_secs_f64());
        self.stream.iter().for_each(|stream| stream.settle(&passage));
        target.engine.pools[passage.worker.index].put(passage.connection);
    }

    /// The engine was lost in the middle of the answer.
    fn broke(&mut self, error: hyper::Error) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let passage = self.passage.take()?;
        self.stream.iter().for_each(|stream| stream.settle(&passage));
        let target = &passage.lease.target;
        let shared = &passage.worker.shared;
        shared.metrics.upstream_error(&target.model.name, &target.engine.id, "mid_stream");
        tracing::warn!(engine = &*target.engine.id, model = &*target.model.name, %error, "engine lost in the middle of an answer");
        if target.engine.failed(Failure::Reset) {
            shared.ejected.notify_one();
        }
        match &self.stream {
            Some(stream) => Some(Ok(Frame::data(stream.error_event()))),
            // Without a stream there is no place for a message: the client sees a body that is too short.
            None => Some(Err(error)),
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(passage) = &self.passage {
            // The client left: dropping the body closes the connection to the engine, which then stops generating.
            passage.lease.target.model.metrics.disconnects.inc();
            self.stream.iter().for_each(|stream| stream.settle(passage));
        }
    }
}

impl Stream {
    fn measure(&mut self, events: u32, passage: &Passage) {
        let metrics = &passage.lease.target.metrics;
        let now = Instant::now();
        let mut events = events;
        let seen = self.seen.get_or_insert_with(|| {
            metrics.time_to_first_token.observe(now.saturating_duration_since(passage.started).as_secs_f64());
            events -= 1;
            Seen { first: now, last: now, after_first: 0 }
        });
        let since = std::mem::replace(&mut seen.last, now);
        seen.after_first = seen.after_first.saturating_add(events);
        if events > 0 {
            // Events that arrive together were made one after the other: the time since the last read is shared out.
            let each = now.saturating_duration_since(since).as_secs_f64() / f64::from(events);
            for _ in 0..events {
                metrics.inter_token_latency.observe(each);
            }
        }
    }

    /// Nothing more comes: counts an answer whose tokens came too slowly in the mean.
    fn settle(&self, passage: &Passage) {
        let Some(seen) = self.seen.as_ref().filter(|seen| self.may_be_slow && seen.after_first > 0) else { return };
        let model = &passage.lease.target.model;
        let mean = seen.last.saturating_duration_since(seen.first) / seen.after_first;
        if model.inter_token_objective().is_some_and(|objective| mean > objective) {
            passage.worker.shared.metrics.slow(&model.name);
        }
    }

    /// What a client sees when its engine is lost: an error in the stream, in the shape its API has.
    fn error_event(&self) -> Bytes {
        const MESSAGE: &str = "the engine was lost in the middle of the answer";
        // An event that was cut off has to be ended first, or the error would become a part of it.
        let end = if self.splitter.at_boundary() { "" } else { "\n\n" };
        let text = if self.anthropic {
            let error = serde_json::json!({"type": "error", "error": {"type": "api_error", "message": MESSAGE}});
            format!("{end}event: error\ndata: {error}\n\n")
        } else {
            let error =
                serde_json::json!({"error": {"message": MESSAGE, "type": "engine_lost", "param": null, "code": 502}});
            format!("{end}data: {error}\n\n")
        };
        Bytes::from(text)
    }
}
