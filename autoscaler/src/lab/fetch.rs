//! History from a Prometheus.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use process::duration::HumanDuration;
use prometheus::{Client, Options};

/// A Prometheus answers at most 11,000 points a series; asked for in pieces well below that.
const POINTS_A_QUESTION: f64 = 5_000.0;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What was fetched: series of `(Unix seconds, value)`.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// Requests a second.
    pub(super) load: Vec<Vec<(f64, f64)>>,
    /// Replicas, when they were asked for.
    pub(super) replicas: Option<Vec<Vec<(f64, f64)>>>,
}

/// Values of a query over the last `history`, one each `step`.
pub(super) async fn fetch(
    url: &str,
    query: &str,
    history: HumanDuration,
    step: HumanDuration,
) -> anyhow::Result<Vec<Vec<(f64, f64)>>> {
    if step.as_secs_f64() < 1.0 || step.as_secs_f64() * 2.0 > history.as_secs_f64() {
        bail!("--history-step must be at least 1s and at most half of --history");
    }
    let client = Client::new(&Options { url: url.to_owned(), timeout: TIMEOUT, ..Options::default() })?;
    let end = process::clock::now();
    let piece = step.as_secs_f64() * POINTS_A_QUESTION;
    let mut series = Vec::new();
    let mut at = end.as_second() as f64 - history.as_secs_f64();
    while at < end.as_second() as f64 {
        // A step less, because both ends are answered.
        let to = (at + piece - step.as_secs_f64()).min(end.as_second() as f64);
        let moment = |seconds: f64| Timestamp::from_second(seconds as i64).context("--history reaches too far back");
        let answer = client
            .query_range(query, moment(at)?, moment(to)?, step.0)
            .await
            .with_context(|| format!("ask {url} for {query}"))?;
        series.extend(answer.series.into_iter().map(|series| series.points));
        at += piece;
    }
    if series.is_empty() {
        bail!("{url} has no data for `{query}` in the last {history}");
    }
    Ok(series)
}
