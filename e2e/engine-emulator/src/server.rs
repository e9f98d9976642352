//! The life of the process: start up, serve, drain, end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::http;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::startup;

/// Connections that nobody has accepted yet; uvicorn's number.
const BACKLOG: u32 = 2048;
/// After this long without a request a connection is closed, as uvicorn does.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long the last bytes may take to leave once everything is answered.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// Runs one engine until SIGTERM or SIGINT, on the current thread's runtime within a `LocalSet`.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let socket = bind(settings.address)?;
    let shutdown_timeout = settings.shutdown_timeout;
    tokio::select! {
        () = startup::pass(&settings.model, settings.startup) => {}
        () = stop.received() => {
            tracing::info!("stopped while starting");
            return Ok(());
        }
    }
    let listener = socket.listen(BACKLOG).context("cannot listen")?;
    let address = listener.local_addr().context("cannot tell the port")?;
    let app = App::new(settings);
    tracing::info!(model = app.settings.served_names[0], "serving on http://{address}");

    let driver = tokio::task::spawn_local({
        let engine = Rc::clone(&app.engine);
        async move { engine.drive().await }
    });
    let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
    let accepting = tokio::task::spawn_local(accept(Rc::clone(&app), listener, closing.clone(), connections.clone()));
    stop.received().await;
    drain(&app, shutdown_timeout).await;

    accepting.abort();
    closing.cancel();
    connections.close();
    if shutdown_timeout > Duration::ZERO && tokio::time::timeout(LAST_BYTES, connections.wait()).await.is_err() {
        tracing::warn!("connections were still open at the end");
    }
    driver.abort();
    Ok(())
}

/// Takes the port without opening it, so that a port in use is known before the start-up and not after.
fn bind(address: SocketAddr) -> anyhow::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("cannot make a socket")?;
    socket.set_reuseaddr(true).context("cannot set SO_REUSEADDR")?;
    socket
        .bind(address)
        .with_context(|| format!("--host and --port: cannot bind {address}; is another process using it?"))?;
    Ok(socket)
}

async fn accept(app: Rc<App>, listener: TcpListener, closing: CancellationToken, connections: TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(Rc::clone(&app), stream, closing.clone());
                tokio::task::spawn_local(connections.track_future(connection));
            }
            Err(error) => {
                // Out of file descriptors, mostly: the connections there are will end and free some.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(app: Rc<App>, stream: TcpStream, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let reset = Rc::new(Cell::new(false));
    let service = service_fn({
        let reset = Rc::clone(&reset);
        move |request| http::answer(Rc::clone(&app), Rc::clone(&reset), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(Socket::new(stream, reset)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "connection ended");
    }
}

/// New requests are refused; those in flight may finish until the time is over. /health stays 200.
async fn drain(app: &App, timeout: Duration) {
    app.draining.set(true);
    let in_flight = app.in_flight.get();
    tracing::info!(in_flight, seconds = timeout.as_secs(), "shutting down");
    let deadline = tokio::time::Instant::now() + timeout;
    while app.in_flight.get() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if app.in_flight.get() > 0 {
        tracing::warn!(in_flight = app.in_flight.get(), "requests cut off at the end of --shutdown-timeout");
    }
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
