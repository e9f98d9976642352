//! The accept loop: bounded, never blocked by one handshake, and with a graceful end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{Peer, ServingCertificate};

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams: u32,
    /// Time for a TLS handshake, and for the head of an HTTP/1 request.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A handful of kube-apiservers and some people; 30 KiB each when idle.
            connections: 1024,
            // Go's HTTP/2 client opens up to 250 before it dials again.
            streams: 250,
            handshake: Duration::from_secs(10),
        }
    }
}

/// The stages of a graceful stop, as `process::shutdown::Shutdown` walks through them.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// Connections are told to go elsewhere, new ones are still accepted.
    pub draining: CancellationToken,
    /// Nothing is accepted any more.
    pub stop_accepting: CancellationToken,
    /// What still runs is dropped.
    pub give_up: CancellationToken,
}

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// TLS with this certificate; plain HTTP without one.
    pub certificate: Option<ServingCertificate>,
    /// Bounds.
    pub limits: Limits,
    /// When to stop.
    pub stages: Stages,
}

/// Resets of HTTP/2 streams by the peer that are kept waiting before the connection is closed (CVE-2023-44487). An
/// availability probe of kube-apiserver resets the stream of each answer, so some are normal.
const MAX_PENDING_RESETS: usize = 64;

/// Serves until the last stage, or until all connections have ended after `stop_accepting`.
///
/// Each request carries a [`Peer`] extension.
///
/// # Errors
/// If the certificate cannot be served at all; failures of single connections are logged at debug level.
pub async fn serve<S, F, B>(listener: TcpListener, service: S, options: ServeOptions) -> Result<(), rustls::Error>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let acceptor = match &options.certificate {
        Some(certificate) => Some(TlsAcceptor::from(Arc::new(certificate.server_config()?))),
        None => None,
    };
    let places = Arc::new(Semaphore::new(options.limits.connections));
    let stages = &options.stages;
    let mut open = GracefulShutdown::new();
    let mut told_to_end = None;
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stages.draining.cancelled(), if told_to_end.is_none() => {
                // Those open now are told to end (GOAWAY, Connection: close); the next ones get the chance to move.
                told_to_end = Some(tokio::spawn(std::mem::take(&mut open).shutdown()));
                continue;
            }
            () = stages.stop_accepting.cancelled() => break,
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            limits: options.limits,
            draining: stages.draining.clone(),
            give_up: stages.give_up.clone(),
            watcher: open.watcher(),
        };
        let service = service.clone();
        tokio::spawn(async move {
            connection.run(stream, service).await;
            drop(place);
        });
    }
    drop(listener);
    let ended = async {
        open.shutdown().await;
        if let Some(earlier) = told_to_end {
            drop(earlier.await);
        }
    };
    tokio::select! {
        () = ended => {}
        () = stages.give_up.cancelled() => {}
    }
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "set TCP_NODELAY");
                }
                return (stream, place);
            }
            Err(error) => {
                // Out of file descriptors, or the peer has gone: pause, or this loop would spin.
                tracing::warn!(error = %error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

struct Connection {
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    draining: CancellationToken,
    give_up: CancellationToken,
    watcher: Watcher,
}

impl Connection {
    async fn run<S, F, B>(self, stream: TcpStream, service: S)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(acceptor) = self.acceptor.clone() else {
            return self.http(stream, Peer::default(), service).await;
        };
        match tokio::time::timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let peer = Peer::new(stream.get_ref().1.peer_certificates());
                self.http(stream, peer, service).await;
            }
            Ok(Err(error)) => tracing::debug!(error = %error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn http<IO, S, F, B>(self, stream: IO, peer: Peer, service: S)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let draining = self.draining.clone();
        let handler = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let is_http1 = request.version() < http::Version::HTTP_2;
            let answer = service(request);
            let draining = draining.clone();
            async move {
                let mut answer = answer.await;
                if is_http1 && draining.is_cancelled() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.handshake);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = builder.serve_connection(TokioIo::new(stream), handler).into_owned();
        let watched = self.watcher.watch(connection);
        tokio::select! {
            ended = watched => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "connection ended");
                }
            }
            () = self.give_up.cancelled() => {}
        }
    }
}
