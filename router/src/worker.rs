//! A worker: one thread, one single-threaded runtime, its own listening socket and its own connections to engines.
//!
//! The kernel spreads connections over the workers' sockets (`SO_REUSEPORT`), and a request never leaves its thread.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::FusedFuture;
use futures::{FutureExt, future};
use http::{HeaderValue, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use process::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::serve::serve;
use crate::shared::Shared;

/// Connections that the kernel holds until a worker accepts them: a burst of new clients.
const BACKLOG: u32 = 4096;
/// Longest time between two requests on a connection, and to send a head. Longer than the 90 s after which Go's client
/// closes idle connections, the longest of the common ones: the side that sends next should be the one that closes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause after an error of `accept`, such as too many open files, which would come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the requests of one thread use.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// What all threads share.
    pub shared: Arc<Shared>,
    random: AtomicU64,
    stop: Stop,
}

/// How far the stop has come, as this thread knows it. Number and token change together in one task of the thread, so
/// that a connection that is woken by the token always finds the new number.
#[derive(Debug, Default)]
struct Stop {
    /// 0 not begun, 1 draining, 2 no new connections.
    stage: AtomicU8,
    draining: CancellationToken,
    ending: CancellationToken,
}

impl Stop {
    async fn follow(&self, shutdown: &Shutdown) {
        shutdown.draining().cancelled().await;
        self.stage.store(1, Ordering::Relaxed);
        self.draining.cancel();
        shutdown.stop_accepting().cancelled().await;
        self.stage.store(2, Ordering::Relaxed);
        self.ending.cancel();
    }
}

/// The data address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for requests: {source}; choose another --listen")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Worker {
    /// A worker whose random words start from `seed`.
    pub fn new(index: usize, shared: Arc<Shared>, seed: u64) -> Self {
        Self { index, shared, random: AtomicU64::new(seed), stop: Stop::default() }
    }

    /// A fresh random word (SplitMix64, Steele et al. 2014): good enough to spread load, and free.
    pub fn random(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut word = self.random.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Binds one socket per worker to the same address. Needs a tokio runtime.
///
/// # Errors
/// If the address cannot be bound, because another program has it, for instance.
pub fn listen(address: SocketAddr, workers: usize) -> Result<(SocketAddr, Vec<std::net::TcpListener>), ListenError> {
    let refuse = |source| ListenError { address, source };
    // With SO_REUSEPORT, a second router on the same port would silently get half of the requests: look first.
    drop(bind(address, false).map_err(refuse)?);
    let first = bind(address, workers > 1).map_err(refuse)?;
    let bound = first.local_addr().map_err(refuse)?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind(bound, true).map_err(refuse)?);
    }
    let listeners: std::io::Result<Vec<_>> = listeners.into_iter().map(TcpListener::into_std).collect();
    Ok((bound, listeners.map_err(refuse)?))
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    // Clients that vanish without a word are noticed by the kernel.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts and serves connections until the stop; returns when the last one is done, or at the latest moment.
pub async fn run(worker: Arc<Worker>, listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let server = Arc::new(server());
    let connections = TaskTracker::new();
    let shutdown = worker.shared.shutdown.clone();
    tokio::spawn({
        let (worker, shutdown) = (worker.clone(), shutdown.clone());
        async move { worker.stop.follow(&shutdown).await }
    });
    loop {
        // Cancel-safe: accept loses no connection when dropped.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.stop_accepting().cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(worker.clone(), server.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {},
        () = shutdown.give_up().cancelled() => {
            tracing::warn!(connections = connections.len(), "the time to finish is over, connections are cut");
        },
    }
    Ok(())
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(IDLE_TIMEOUT).max_concurrent_streams(1024);
    server
}

async fn connection(worker: Arc<Worker>, server: Arc<auto::Builder<TokioExecutor>>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection was gone before it was served");
        return;
    }
    let is_http2 = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: http::Request<Incoming>| {
        let worker = worker.clone();
        let http2 = request.version() == Version::HTTP_2;
        if http2 {
            is_http2.store(true, Ordering::Relaxed);
        }
        async move {
            let shared = worker.shared.clone();
            let mut answer = serve(worker, request).await;
            if !http2 && shared.is_draining() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut serving = pin!(server.serve_connection(TokioIo::new(stream), service));
    let mut draining = pin!(worker.stop.draining.cancelled().fuse());
    let mut stopping = pin!(worker.stop.ending.cancelled().fuse());
    let mut seen = None;
    let served = future::poll_fn(|cx| {
        // Polling a token takes a lock: done once to be woken, and again when the stage changed.
        let stage = worker.stop.stage.load(Ordering::Relaxed);
        if seen != Some(stage) {
            seen = Some(stage);
            let closing = !draining.is_terminated() && draining.poll_unpin(cx).is_ready();
            let ending = !stopping.is_terminated() && stopping.poll_unpin(cx).is_ready();
            // An HTTP/2 client is told at once to go elsewhere. An idle HTTP/1 connection stays until nothing new is
            // accepted any more: closing it now could cross a request on its way here.
            if ending || (closing && is_http2.load(Ordering::Relaxed)) {
                serving.as_mut().graceful_shutdown();
            }
        }
        match serving.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended early");
    }
}
