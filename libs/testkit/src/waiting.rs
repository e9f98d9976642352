use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A TCP port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// If the system has none left.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
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
