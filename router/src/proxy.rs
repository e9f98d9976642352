//! Third stage: send the request to its engine and look at the start of the answer.
//!
//! Nothing has gone to the client yet when this ends, so an engine that is full, shutting down or broken costs another
//! attempt and no failed request. For that, the head of a stream is held until its first event is there.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use router_core::{
    Failure, FirstEvent, HeadVerdict, MAX_PEEK_BYTES, is_draining_error, judge_first_event, judge_head, retry_after,
};
use tokio::time::Instant;

use crate::admit::Admitted;
use crate::live::{EngineLive, Lease};
use crate::pool::{Connection, connect};
use crate::setback::Setback;
use crate::worker::Worker;

/// An answer that is good for the client, read no further than needed to know that.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: response::Parts,
    /// What has been read of the body.
    pub start: Bytes,
    /// The rest of the body.
    pub rest: Incoming,
    /// Whether the body is a server-sent event stream.
    pub event_stream: bool,
    /// The connection it comes from.
    pub connection: Connection,
    /// The place in the engine.
    pub lease: Lease,
}

/// Sends the request to the engine of the lease.
///
/// # Errors
/// If there is no answer for the client: the request may go to another engine. The engine's standing is updated.
pub async fn proxy(worker: &Worker, admitted: &Admitted, lease: &Lease) -> Result<Start, Setback> {
    let engine = &lease.target.engine;
    let timeout = worker.shared.tunables.load().answer_timeout;
    let sent = Instant::now();
    let result = match tokio::time::timeout(timeout, attempt(worker, admitted, engine)).await {
        Ok(result) => result,
        Err(_) => Err(Setback::Failed(Failure::Timeout)),
    };
    let now = Instant::now();
    let now_ms = worker.shared.now_ms(now);
    match &result {
        Ok(start) => {
            engine.answered();
            // Only the head of a stream comes with the first token; other answers come with the last one.
            if start.event_stream && start.head.status == http::StatusCode::OK {
                admitted.model.queue.first_token_after(now.saturating_duration_since(sent));
            }
        }
        Err(Setback::Failed(failure)) => {
            if engine.failed(*failure) {
                tracing::warn!(
                    engine = &*engine.id,
                    reason = failure.reason(),
                    "engine taken out until /health answers"
                );
                worker.shared.ejected.notify_one();
            }
        }
        Err(Setback::Full(retry_after_ms)) => engine.refused(*retry_after_ms, now_ms),
        Err(Setback::Draining) => engine.is_leaving(now_ms),
    }
    result
}

/// The start of an answer.
#[derive(Debug)]
pub struct Start {
    head: response::Parts,
    start: Bytes,
    rest: Incoming,
    event_stream: bool,
    connection: Connection,
}

impl Start {
    /// Joins the answer with the place in the engine that it holds until its end.
    pub fn with(self, lease: Lease) -> Answer {
        let Self { head, start, rest, event_stream, connection } = self;
        Answer { head, start, rest, event_stream, connection, lease }
    }
}

async fn attempt(worker: &Worker, admitted: &Admitted, engine: &EngineLive) -> Result<Start, Setback> {
    let pool = &engine.pools[worker.index];
    // An idle connection may have been closed by the engine just now, without having seen the request: that is no
    // failure, and a fresh connection tells more.
    if let Some(connection) = pool.take(Instant::now()).await
        && let Ok((connection, answer)) = exchange(connection, admitted, engine).await
    {
        return judge(worker, engine, connection, answer).await;
    }
    let timeout = worker.shared.tunables.load().connect_timeout;
    let connection = connect(&engine.url, timeout).await.map_err(|error| {
        tracing::debug!(engine = &*engine.id, %error, "cannot connect");
        Setback::Failed(Failure::Connect)
    })?;
    let (connection, answer) = exchange(connection, admitted, engine).await.map_err(|error| {
        tracing::debug!(engine = &*engine.id, %error, "connection broke before an answer");
        Setback::Failed(Failure::Reset)
    })?;
    judge(worker, engine, connection, answer).await
}

async fn exchange(
    mut connection: Connection,
    admitted: &Admitted,
    engine: &EngineLive,
) -> Result<(Connection, Response<Incoming>), hyper::Error> {
    let mut request = Request::new(Full::new(admitted.body.clone()));
    *request.method_mut() = admitted.method.clone();
    *request.uri_mut() = admitted.uri.clone();
    *request.headers_mut() = admitted.headers.clone();
    request.headers_mut().insert(header::HOST, engine.host.clone());
    let answer = connection.sender.send_request(request).await?;
    Ok((connection, answer))
}

async fn judge(
    worker: &Worker,
    engine: &EngineLive,
    connection: Connection,
    answer: Response<Incoming>,
) -> Result<Start, Setback> {
    let (head, mut rest) = answer.into_parts();
    let event_stream = is_event_stream(&head.headers);
    let start = match judge_head(head.status.as_u16(), event_stream) {
        HeadVerdict::Deliver => Bytes::new(),
        HeadVerdict::PeekFirstEvent => first_event(&mut rest).await?,
        HeadVerdict::PeekError => {
            let start = peek(&mut rest).await?;
            if is_draining_error(&start) {
                return Err(Setback::Draining);
            }
            start
        }
        HeadVerdict::Full => {
            let wish = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wish = wish.and_then(retry_after);
            // Reading the short error to its end keeps the connection for later, under overload above all.
            if peek(&mut rest).await.is_ok() && http_body::Body::is_end_stream(&rest) {
                engine.pools[worker.index].put(connection);
            }
            return Err(Setback::Full(wish));
        }
    };
    Ok(Start { head, start, rest, event_stream, connection })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Reads until the stream shows that it is none of an engine without room.
async fn first_event(rest: &mut Incoming) -> Result<Bytes, Setback> {
    let mut start = Bytes::new();
    loop {
        let Some(data) = next_data(rest).await? else { return Ok(start) };
        start = if start.is_empty() { data } else { joined(&start, &data) };
        match judge_first_event(&start) {
            FirstEvent::Deliver => return Ok(start),
            FirstEvent::Full => return Err(Setback::Full(None)),
            FirstEvent::NeedMore => {}
        }
    }
}

/// Reads a short body to its end, or the start of a long one.
async fn peek(rest: &mut Incoming) -> Result<Bytes, Setback> {
    let mut start = Bytes::new();
    while start.len() < MAX_PEEK_BYTES {
        let Some(data) = next_data(rest).await? else { break };
        start = if start.is_empty() { data } else { joined(&start, &data) };
        if http_body::Body::is_end_stream(rest) {
            break;
        }
    }
    Ok(start)
}

async fn next_data(rest: &mut Incoming) -> Result<Option<Bytes>, Setback> {
    loop {
        match rest.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Setback::Failed(Failure::Reset)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn joined(start: &Bytes, more: &Bytes) -> Bytes {
    let mut whole = BytesMut::with_capacity(start.len() + more.len());
    whole.extend_from_slice(start);
    whole.extend_from_slice(more);
    whole.freeze()
}
