//! Idle connections to one engine, kept by one worker thread.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::engine_url::EngineUrl;

/// vLLM's server (uvicorn) closes a connection that was idle for 5 s: one second less avoids sending into its closing.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Most idle connections kept per engine and worker; beyond it they are closed.
const MAX_IDLE_CONNECTIONS: usize = 1024;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct Connection {
    /// Sends the request.
    pub sender: SendRequest<Full<Bytes>>,
}

/// Idle connections, the last used on top.
#[derive(Debug, Default)]
pub struct Pool {
    // Held for a push or pop only.
    idle: Mutex<Vec<(SendRequest<Full<Bytes>>, Instant)>>,
}

impl Pool {
    /// Takes the connection that was used last, if there is one that still works.
    pub async fn take(&self, now: Instant) -> Option<Connection> {
        loop {
            let (mut sender, since) = self.lock().pop()?;
            if now.saturating_duration_since(since) > MAX_IDLE {
                // All below were idle for longer.
                self.lock().clear();
                return None;
            }
            // The last answer has been read, so this waits at most for the connection's own task to notice.
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(Connection { sender });
            }
        }
    }

    /// Gives a connection back whose answer has been read to its end.
    pub fn put(&self, connection: Connection) {
        let sender = connection.sender;
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push((sender, Instant::now()));
        }
    }

    /// Closes connections that were idle for too long.
    pub fn sweep(&self, now: Instant) {
        self.lock().retain(|(sender, since)| !sender.is_closed() && now.saturating_duration_since(*since) <= MAX_IDLE);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(SendRequest<Full<Bytes>>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to an engine.
///
/// # Errors
/// If it cannot be reached within `timeout`.
pub async fn connect(url: &EngineUrl, timeout: Duration) -> std::io::Result<Connection> {
    let connecting = TcpStream::connect((url.host.as_str(), url.port));
    let stream = tokio::time::timeout(timeout, connecting).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // Its errors reach the request that it carries, or nobody if it was idle.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender })
}
