//! Questions about a model's past, and their answers as [`Past`].

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use autoscaler_plan::Past;
use jiff::{SignedDuration, Timestamp};
use prometheus::{Client, Options, QueryError};
use tokio::sync::Semaphore;

use super::config::PrometheusConfig;

/// Arrivals of a model in a cluster: what the facts of a decision count.
pub const ARRIVALS: &str =
    r#"sum(rate(router_requests_received_total{namespace="$namespace",model_name="$model"}[$window]))"#;

/// The same where there is no namespace.
pub const ARRIVALS_ON_ONE_HOST: &str = r#"sum(rate(router_requests_received_total{model_name="$model"}[$window]))"#;

/// Seconds a request spent in an engine, its wait for the batch not included; for a model that nobody has asked lately.
const SERVICE_TIME: &str = r#"sum(increase(vllm:request_inference_time_seconds_sum{$labels}[7d]))
/ sum(increase(vllm:request_inference_time_seconds_count{$labels}[7d]))"#;

/// Most values of one past: a week in steps of ten seconds, and a little.
const MOST_VALUES: f64 = 64_000.0;

/// Models whose past is read at once, and models whose past is lived through at once: one takes a core for seconds.
const QUESTIONS_AT_ONCE: usize = 4;
const REHEARSALS_AT_ONCE: usize = 1;

/// A Prometheus, and how much is asked of it and of this machine at once.
#[derive(Debug)]
pub struct Source {
    client: Client,
    arrivals: String,
    asks_routers: bool,
    in_a_cluster: bool,
    window: Duration,
    pub(super) questions: Semaphore,
    pub(super) rehearsals: Semaphore,
}

/// Why there is no past.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// No answer, or a bad one.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer is empty.
    #[error(
        "prometheus has nothing on `{query}`; if it should, set prometheus.arrivals to what it calls a model's arrivals"
    )]
    Nothing {
        /// What was asked.
        query: String,
    },
    /// Nobody has asked the model yet, so nothing says how long a request takes.
    #[error("how long a request is in service is not known yet")]
    NoServiceTime,
}

impl PastError {
    /// A bounded word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Query(_) => "PrometheusFailed",
            Self::Nothing { .. } => "NoHistory",
            Self::NoServiceTime => "NoServiceTime",
        }
    }
}

impl Source {
    /// Prepares the client; nothing is asked.
    ///
    /// # Errors
    /// If a key below `prometheus` cannot be used.
    pub fn new(config: &PrometheusConfig, in_a_cluster: bool) -> anyhow::Result<Self> {
        config.check().map_err(|(key, problem)| anyhow::anyhow!("prometheus.{key}: {problem}"))?;
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("prometheus.caFile: read {}", path.display()));
        let client = Client::new(&Options {
            url: config.url.clone(),
            timeout: config.timeout.0,
            headers: config.headers.clone().into_iter().collect(),
            ca_pem: config.ca_file.as_deref().map(read).transpose()?,
            bearer_token_file: config.bearer_token_file.clone(),
        })?;
        let default = if in_a_cluster { ARRIVALS } else { ARRIVALS_ON_ONE_HOST };
        Ok(Self {
            client,
            asks_routers: config.arrivals.is_none(),
            arrivals: config.arrivals.clone().unwrap_or_else(|| default.to_owned()),
            in_a_cluster,
            window: config.window.0,
            questions: Semaphore::new(QUESTIONS_AT_ONCE),
            rehearsals: Semaphore::new(REHEARSALS_AT_ONCE),
        })
    }

    /// Whether it is asked for what our routers received, and not for what somebody wrote.
    #[must_use]
    pub fn asks_routers(&self) -> bool {
        self.asks_routers
    }

    /// What arrived in the `span` seconds before `now`, in steps of about `step` seconds; of a name that several targets
    /// serve, this one's `share`.
    ///
    /// # Errors
    /// If there is no answer, or nothing in it.
    pub async fn past(
        &self,
        model: &str,
        namespace: &str,
        share: f64,
        span: f64,
        step: f64,
        now: Timestamp,
    ) -> Result<Past, PastError> {
        let step = Duration::from_secs(step.max(span / MOST_VALUES).ceil().max(1.0) as u64);
        let query = filled(&self.arrivals, model, namespace, self.window);
        let from = now.checked_sub(SignedDuration::from_secs(span as i64)).unwrap_or(Timestamp::MIN);
        let answer = self.client.query_history(&query, from, now, step).await?;
        for warning in &answer.warnings {
            tracing::warn!(model, warning, "prometheus warns: parts of the past may be missing");
        }
        let points = answer.series.into_iter().flat_map(|series| series.points);
        let points = points.map(|(at, value)| (at, value * share)).collect();
        evenly(points, step, self.window).ok_or(PastError::Nothing { query })
    }

    /// Seconds a request was in service, over the last week.
    ///
    /// # Errors
    /// If there is no answer, or nothing in it.
    pub async fn service_seconds(&self, model: &str, namespace: &str) -> Result<f64, PastError> {
        let labels =
            if self.in_a_cluster { r#"namespace="$namespace",model_name="$model""# } else { r#"model_name="$model""# };
        let query = filled(&SERVICE_TIME.replace("$labels", labels), model, namespace, self.window);
        let answer = self.client.query(&query).await?;
        let seconds = answer.series.first().map(|series| series.value);
        seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).ok_or(PastError::NoServiceTime)
    }
}

/// A query with its places filled in; names may hold anything.
#[must_use]
pub fn filled(query: &str, model: &str, namespace: &str, window: Duration) -> String {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    // Names last: one that holds `$window` stays as it is.
    let query = query.replace("$window", &format!("{}ms", window.as_millis()));
    let query = query.replace("$namespace", &quoted(namespace));
    query.replace("$model", &quoted(model))
}

/// Points on whole steps as evenly spaced values, those of the same time added up. A rate over a window is that of the
/// window's middle.
fn evenly(points: Vec<(f64, f64)>, step: Duration, window: Duration) -> Option<Past> {
    let step_seconds = step.as_secs_f64();
    let usable = |(at, value): &(f64, f64)| at.is_finite() && value.is_finite() && *value >= 0.0;
    let points: Vec<(f64, f64)> = points.into_iter().filter(usable).collect();
    let first = points.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let last = points.iter().map(|(at, _)| *at).fold(f64::NEG_INFINITY, f64::max);
    let values = ((last - first) / step_seconds).round();
    // Also of an answer that keeps to no step: what was asked for bounds it.
    if points.is_empty() || values > 2.0 * MOST_VALUES {
        return None;
    }
    let mut per_second: Vec<Option<f64>> = vec![None; values as usize + 1];
    for (at, value) in points {
        if let Some(slot) = per_second.get_mut(((at - first) / step_seconds).round() as usize) {
            *slot.get_or_insert(0.0) += value;
        }
    }
    let begin_milliseconds = (1e3 * (first - (window.as_secs_f64() + step_seconds) / 2.0)).round();
    let begin = Timestamp::from_millisecond(begin_milliseconds as i64).ok()?;
    Some(Past { begin, step_seconds, per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_the_window_is_filled_in() {
        let query = filled(ARRIVALS, "a\"b\\c$window", "ns", Duration::from_secs(60));
        let expected =
            r#"sum(rate(router_requests_received_total{namespace="ns",model_name="a\"b\\c$window"}[60000ms]))"#;
        assert_eq!(query, expected);
        assert_eq!(prometheus::check_promql(&query), Ok(()));
        let service_time = filled(&SERVICE_TIME.replace("$labels", "model_name=\"$model\""), "m", "", Duration::ZERO);
        assert_eq!(prometheus::check_promql(&service_time), Ok(()));
    }

    #[test]
    fn a_rate_over_a_window_is_that_of_its_middle() {
        let (step, window) = (Duration::from_secs(10), Duration::from_secs(60));
        let points = vec![(1000.0, 1.0), (1010.0, 2.0), (1040.0, 5.0), (1010.0, 0.5), (1020.0, f64::NAN)];
        let past = evenly(points, step, window).expect("usable");
        assert_eq!(past.begin, Timestamp::from_second(965).expect("in range"));
        assert_eq!(past.per_second, [Some(1.0), Some(2.5), None, None, Some(5.0)]);
        assert_eq!(evenly(vec![(1.0, f64::NAN)], step, window), None);
    }
}
