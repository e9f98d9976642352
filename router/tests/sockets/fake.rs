//! An engine that answers as a test tells it to, and remembers what it was sent.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What an engine said under overload, in a stream; captured from vLLM 0.32.0.
pub(crate) const BUSY_EVENT: &str = "data: {\"error\": {\"message\": \"The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.\", \"type\": \"Service Unavailable\", \"param\": null, \"code\": 503}}\n\ndata: [DONE]\n\n";
/// The same without a stream.
pub(crate) const BUSY: &str = "{\"error\":{\"message\":\"The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.\",\"type\":\"Service Unavailable\",\"param\":null,\"code\":503}}";
/// What a new request got after SIGTERM.
pub(crate) const DRAINING: &str = "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}";

/// A request as the engine got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the engine does.
pub(crate) enum Reply {
    /// Status, headers and body in one piece.
    Whole(u16, Vec<(&'static str, &'static str)>, Bytes),
    /// An event stream that the test feeds; an error breaks the connection.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
    /// The connection is closed without an answer.
    Close,
    /// No answer until the client leaves.
    Never,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Whole(status, vec![("content-type", "application/json")], Bytes::copy_from_slice(body.as_bytes()))
    }

    pub(crate) fn events(body: &'static str) -> Self {
        Self::Whole(
            200,
            vec![("content-type", "text/event-stream; charset=utf-8")],
            Bytes::from_static(body.as_bytes()),
        )
    }
}

type Answer = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running engine; it is gone when this is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    aborts: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Fake {
    /// Serves `names` on a free port.
    pub(crate) async fn start(names: &[&str], answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), names, answer).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        names: &[&str],
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let cards: Vec<_> = names.iter().map(|name| serde_json::json!({"id": name, "max_model_len": 512})).collect();
        let models = serde_json::json!({"object": "list", "data": cards}).to_string();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            aborts: Arc::default(),
            stop: CancellationToken::new(),
        };
        let service =
            Service { models, answer: Arc::new(answer), seen: fake.seen.clone(), aborts: fake.aborts.clone() };
        tokio::spawn(accept(listener, Arc::new(service), fake.stop.clone()));
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests other than `/v1/models` and `/health`.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Answers that the router gave up before they were complete.
    pub(crate) fn aborts(&self) -> usize {
        self.aborts.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Service {
    models: String,
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Seen>>>,
    aborts: Arc<AtomicUsize>,
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = stop.cancelled() => return,
        };
        let service = service.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let serve = service_fn(move |request| answer(service.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
            tokio::select! {
                ended = connection => drop(ended),
                () = stop.cancelled() => {},
            }
        });
    }
}

/// Counts an abort unless it was told that all is well.
struct Guard(Option<Arc<AtomicUsize>>);

impl Guard {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(aborts) = &self.0 {
            aborts.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn answer(service: Arc<Service>, request: Request<Incoming>) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
    let (head, body) = request.into_parts();
    let whole = |body: Bytes| Full::new(body).map_err(|never| match never {}).boxed();
    match head.uri.path() {
        "/v1/models" if head.method == Method::GET => return Ok(Response::new(whole(service.models.clone().into()))),
        "/health" => return Ok(Response::new(whole(Bytes::new()))),
        _ => {}
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Seen { method: head.method, path: head.uri.to_string(), headers: head.headers, body };
    let reply = (service.answer)(&seen);
    service.seen.lock().unwrap().push(seen);
    match reply {
        Reply::Whole(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(whole(body)).unwrap())
        }
        Reply::Stream(mut chunks) => {
            let mut guard = Guard(Some(service.aborts.clone()));
            let stream = futures::stream::poll_fn(move |cx| {
                let next = chunks.poll_recv(cx);
                if let std::task::Poll::Ready(None) = &next {
                    guard.disarm();
                }
                next
            });
            let body = BodyExt::boxed(StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))));
            Ok(Response::builder().header("content-type", "text/event-stream; charset=utf-8").body(body).unwrap())
        }
        Reply::Close => Err(io::Error::other("the test wants it closed")),
        Reply::Never => {
            let _guard = Guard(Some(service.aborts.clone()));
            std::future::pending().await
        }
    }
}
