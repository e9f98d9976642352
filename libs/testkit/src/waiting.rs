use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Ports that the system gives to nobody by itself (Linux: from 32768), so that no connection takes one before a program
/// that is told to listen there does.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 that is free and that this process has not been given before.
///
/// # Errors
/// If none of them is free.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Test processes begin at different places.
    let begin = std::process::id().wrapping_mul(257);
    for _ in 0..count {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(place)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end)
}

/// A client with a timeout that ignores proxies.
///
/// # Errors
/// If no TLS backend can be set up.
pub fn http_client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?)
}

/// Polls `check` each 20 ms until it gives a value.
///
/// # Errors
/// After `deadline`, with the last reason that `check` gave.
pub async fn eventually<T, F>(deadline: Duration, what: &str, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = tokio::time::Instant::now() + deadline;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() >= end => {
                return Err(error).with_context(|| format!("{what} did not happen within {deadline:?}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until `url` answers 200.
///
/// # Errors
/// After `deadline`.
pub async fn wait_for_http(url: &str, deadline: Duration) -> Result<()> {
    let client = http_client()?;
    eventually(deadline, &format!("a 200 from {url}"), || async {
        let status = client.get(url).send().await?.status();
        if status != 200 {
            bail!("{url} answered {status}");
        }
        Ok(())
    })
    .await
}
