//! History from a Prometheus.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::SignedDuration;
use process::duration::HumanDuration;
use prometheus::{Client, Options};

use super::output::tell;

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
    let begin = end.checked_sub(SignedDuration::try_from(history.0)?).context("--history reaches too far back")?;
    let answer = client.query_history(query, begin, end, step.0).await;
    let answer = answer.with_context(|| format!("ask {url} for {query}"))?;
    for warning in &answer.warnings {
        tell(&format!("{url} warns that data may be missing: {warning}"));
    }
    if answer.series.is_empty() {
        bail!("{url} has no data for `{query}` in the last {history}");
    }
    Ok(answer.series.into_iter().map(|series| series.points).collect())
}
