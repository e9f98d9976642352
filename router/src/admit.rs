//! First stage: read the request, find its model, count it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use router_core::{EngineKey, Failure, Lookup, ModelField, Place, scan};
use tokio::time::Instant;

use crate::headers::strip_hop_by_hop;
use crate::live::{EngineLive, ModelLive};
use crate::refusal::Refusal;
use crate::setback::Setback;
use crate::shared::Shared;

/// Longest time a client may take to send its body: 64 MiB at 0.5 MB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the rest of a body that is too large is read, so that the client gets to read why it was refused.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of it is read for that, in bytes.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
/// Most model names that an error lists.
const MAX_NAMES_LISTED: usize = 20;

/// The header that follows a request through all logs.
pub const REQUEST_ID: &str = "x-request-id";

/// A request that is on its way to an engine.
#[derive(Debug)]
pub struct Admitted {
    /// Method of the request.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers that go to the engine, all but `Host`.
    pub headers: HeaderMap,
    /// The client's or a new request id.
    pub request_id: HeaderValue,
    /// The body as it came.
    pub body: Bytes,
    /// The model it is for.
    pub model: Arc<ModelLive>,
    /// Its place in the order of arrival.
    pub place: Place,
    /// When it came.
    pub started: Instant,
    /// Time spent waiting for an engine so far.
    pub waited: Duration,
    /// Engines that this round of attempts has tried.
    pub tried: Vec<EngineKey>,
    /// Engines that broke while they had the request: never asked again.
    pub broken: Vec<EngineKey>,
    /// Engines that failed it; "full" and "draining" do not count.
    pub failures: u32,
    /// What happened last, for the error if there is no next attempt.
    pub last: Option<Setback>,
    shared: Arc<Shared>,
    counted: bool,
}

impl Admitted {
    /// Counts the answer with this status, whose first token, as far as that can be seen, came after `first_token`; true if
    /// that was too late.
    pub fn answered(&mut self, code: u16, first_token: Duration) -> bool {
        self.counted = true;
        self.shared.metrics.answered(&self.model.name, &self.model.metrics, code);
        // Who asked for something impossible is not late, who found no engine is.
        let is_lost = code >= 500 || code == 429;
        let is_answered = (200..300).contains(&code);
        let is_late = |objective| is_lost || (is_answered && first_token > objective);
        let is_late = self.model.queue.objective().is_some_and(is_late);
        if is_late {
            self.shared.metrics.late(&self.model.name);
        }
        is_late
    }

    /// Notes an attempt that came to nothing.
    ///
    /// # Errors
    /// If no further attempt is allowed.
    pub fn note(&mut self, engine: &EngineLive, setback: Setback) -> Result<(), Refusal> {
        self.last = Some(setback);
        self.tried.push(engine.key);
        self.shared.metrics.upstream_error(&self.model.name, &engine.id, setback.reason());
        tracing::info!(engine = &*engine.id, model = &*self.model.name, request_id = ?self.request_id, reason = setback.reason(), "attempt failed");
        if let Setback::Failed(failure) = setback {
            if failure != Failure::Connect {
                self.broken.push(engine.key);
            }
            self.failures += 1;
            let allowed = self.shared.tunables.load().max_attempts;
            if self.failures >= allowed {
                let message = format!(
                    "{} engine(s) of model `{}` failed this request; the last failure: {}",
                    self.failures,
                    self.model.name,
                    setback.reason()
                );
                return Err(Refusal::bad_gateway("engine_failed", message));
            }
        }
        self.shared.metrics.retry(&self.model.name, setback.reason());
        Ok(())
    }

    /// Counts a refusal on its way to the client.
    pub fn refused(&mut self, refusal: Refusal) -> Refusal {
        self.answered(refusal.status.as_u16(), self.started.elapsed());
        tracing::info!(
            model = &*self.model.name,
            request_id = ?self.request_id,
            status = refusal.status.as_u16(),
            code = refusal.code,
            "request refused"
        );
        refusal
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.counted {
            // The client left: hyper drops the request's future, and with it the attempt on the engine.
            self.shared.metrics.answered(&self.model.name, &self.model.metrics, 499);
            self.model.metrics.disconnects.inc();
            if self.model.queue.objective().is_some_and(|objective| self.started.elapsed() > objective) {
                self.shared.metrics.late(&self.model.name);
            }
        }
    }
}

/// Reads a request to its end and finds its model.
///
/// # Errors
/// If the body is too large or too slow, or the model is missing where it is needed, or unknown.
pub async fn admit(shared: &Arc<Shared>, request: Request<Incoming>, random: u64) -> Result<Admitted, Refusal> {
    let started = Instant::now();
    let (mut head, body) = request.into_parts();
    let result = async {
        let body = read_body(&head.headers, body, shared.tunables.load().max_body_bytes).await?;
        let model = find_model(shared, &head.headers, &body)?;
        Ok((body, model))
    };
    let (body, model) = result.await.inspect_err(|refusal: &Refusal| {
        shared.metrics.refused_unknown(refusal.status.as_u16());
        tracing::debug!(status = refusal.status.as_u16(), code = refusal.code, "request not admitted");
    })?;
    model.metrics.received.inc();
    strip_hop_by_hop(&mut head.headers);
    // hyper has answered `100 Continue` by reading the body.
    head.headers.remove(header::EXPECT);
    let request_id = match head.headers.get(REQUEST_ID) {
        Some(id) => id.clone(),
        None => {
            let id = new_request_id(random);
            head.headers.insert(REQUEST_ID, id.clone());
            id
        }
    };
    let place = model.queue.place(started, shared.next_sequence());
    Ok(Admitted {
        method: head.method,
        uri: origin_form(head.uri),
        headers: head.headers,
        request_id,
        body,
        model,
        place,
        started,
        waited: Duration::ZERO,
        tried: Vec::new(),
        broken: Vec::new(),
        failures: 0,
        last: None,
        shared: shared.clone(),
        counted: false,
    })
}

/// Path and query alone: HTTP/2 and proxy requests carry scheme and authority too.
fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri;
    }
    uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()))
}

fn new_request_id(random: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("req-{random:016x}")).unwrap_or_else(|_| HeaderValue::from_static("req"))
}

async fn read_body(headers: &HeaderMap, body: Incoming, max: u64) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let declared = body.size_hint().lower();
    if declared > max {
        // A client that waits for `100 Continue` has sent nothing yet.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large(max));
    }
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, declared, max)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::client(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            None,
            format!("the request body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
        )),
    }
}

async fn collect(mut body: Incoming, declared: u64, max: u64) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("the request body broke off: {error}");
            Refusal::client(StatusCode::BAD_REQUEST, "body_incomplete", None, message)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if (whole.len() + first.as_ref().map_or(0, Bytes::len) + data.len()) as u64 > max {
            discard(body).await;
            return Err(too_large(max));
        }
        match first.take() {
            // The usual case: the whole body came with one read, and is never copied.
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(head) => {
                whole.reserve(usize::try_from(declared).unwrap_or(0).max(head.len() + data.len()));
                whole.extend_from_slice(&head);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// Reads on for a while: closing at once would reset the connection before the client has read the answer.
async fn discard(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            if left == 0 {
                break;
            }
        }
    };
    // Whether the client stopped in time or not, the answer is the same.
    drop(tokio::time::timeout(DRAIN_TIMEOUT, reading).await);
}

fn too_large(max: u64) -> Refusal {
    let message = format!(
        "the request body is larger than {max} bytes; send less, or raise maxBodyBytes in the router's configuration"
    );
    Refusal::client(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", None, message)
}

fn find_model(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<Arc<ModelLive>, Refusal> {
    let snapshot = shared.snapshot.load();
    let multipart = || headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
    let (name, problem) = if body.is_empty() {
        (None, "the request has no body and so no `model`".to_owned())
    } else if multipart() {
        (None, "the router does not look for `model` in multipart bodies".to_owned())
    } else {
        match scan(body) {
            Ok(view) => match view.model {
                ModelField::Name(name) => (Some(name), String::new()),
                ModelField::Absent => (None, "the request body has no `model`".to_owned()),
                ModelField::NotAString => (None, "`model` in the request body is not a string".to_owned()),
            },
            Err(error) => (None, error.to_string()),
        }
    };
    match snapshot.fleet.find(name.as_deref()) {
        Lookup::Model(at) => Ok(snapshot.models[at].clone()),
        Lookup::Unknown => {
            let message = format!("model `{}` does not exist; {}", name.unwrap_or_default(), names(&snapshot.models));
            Err(Refusal::client(StatusCode::NOT_FOUND, "model_not_found", Some("model"), message))
        }
        Lookup::NotYetKnown(silent) => {
            let message = format!(
                "model `{}` is not known yet: {silent} engine(s) have not answered /v1/models so far; try again shortly",
                name.unwrap_or_default()
            );
            Err(Refusal::unavailable("model_not_known_yet", message))
        }
        Lookup::Ambiguous(served) => {
            let message = format!(
                "{problem}; it is needed to choose among {served} served models; set `model` in a JSON body; {}",
                names(&snapshot.models)
            );
            Err(Refusal::client(StatusCode::BAD_REQUEST, "model_required", Some("model"), message))
        }
    }
}

fn names(models: &[Arc<ModelLive>]) -> String {
    if models.is_empty() {
        return "no models are known: no engine is ready and the configuration names none".to_owned();
    }
    let listed: Vec<&str> = models.iter().take(MAX_NAMES_LISTED).map(|model| &*model.name).collect();
    let more = models.len().saturating_sub(listed.len());
    let more = if more > 0 { format!(" and {more} more (see /v1/models)") } else { String::new() };
    format!("models: {}{more}", listed.join(", "))
}
