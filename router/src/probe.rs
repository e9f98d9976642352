//! `router --probe URL`: a health check for images that hold neither a shell nor curl.

use std::time::Duration;

use anyhow::{Context, ensure};
use engines::scrape::Scraper;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest time to ask unless told otherwise: an answer, or a connection that has to be tried again.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest single attempt, so that a connection into the void leaves time for another.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(5);

/// The body of the first answer with status 200.
///
/// # Errors
/// If `url` is no http URL, or gives no such answer within `deadline`; then the last failure and its causes.
pub async fn probe(url: &str, deadline: Duration) -> anyhow::Result<String> {
    ensure!(url.starts_with("http://"), "--probe `{url}` does not begin with http://; write http://host:port/path");
    ensure!(deadline >= Duration::from_secs(1), "--probe-deadline {deadline:?} is too short; write 1s or more");
    let end = Instant::now() + deadline;
    let scraper = Scraper::new(LONGEST_ATTEMPT.min(deadline)).context("set up the HTTP client")?;
    loop {
        let error = match timeout_at(end, scraper.text(url)).await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(_) => anyhow::anyhow!("no answer from {url}"),
        };
        if Instant::now() + PAUSE >= end {
            return Err(error.context(format!("not good within {deadline:?}")));
        }
        sleep(PAUSE).await;
    }
}
