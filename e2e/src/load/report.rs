//! What a whole replay felt like.

use std::collections::BTreeMap;

use super::client::Outcome;

/// Outcomes of a replay. At most one entry of a few dozen bytes a request: a million requests are tens of megabytes.
#[derive(Debug, Default)]
pub struct Report {
    ttft_seconds: Vec<f64>,
    requests: usize,
    within_objective: usize,
    chunks: u64,
    failures: BTreeMap<String, usize>,
    examples: Vec<String>,
}

/// Failures that are kept word for word.
const MOST_EXAMPLES: usize = 5;

/// What counts as a good answer, wall time.
#[derive(Debug, Clone, Copy)]
pub struct Objective {
    /// Seconds to the first token.
    pub ttft_seconds: f64,
    /// Mean seconds between tokens.
    pub inter_token_seconds: f64,
}

impl Report {
    /// Takes one outcome in.
    pub fn add(&mut self, outcome: &Outcome, objective: Objective) {
        self.requests += 1;
        self.chunks += u64::from(outcome.chunks);
        if let Some(failure) = &outcome.failure {
            *self.failures.entry(failure.kind()).or_default() += 1;
            if self.examples.len() < MOST_EXAMPLES {
                self.examples.push(failure.to_string());
            }
            return;
        }
        let Some(ttft) = outcome.ttft_seconds else { return };
        self.ttft_seconds.push(ttft);
        let is_even = outcome.inter_token_seconds.is_none_or(|seconds| seconds <= objective.inter_token_seconds);
        self.within_objective += usize::from(ttft <= objective.ttft_seconds && is_even);
    }

    /// Requests that have ended, failed ones included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Failed requests.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Failed requests by kind.
    #[must_use]
    pub fn failures(&self) -> &BTreeMap<String, usize> {
        &self.failures
    }

    /// The first failures, word for word.
    #[must_use]
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Chunks with text.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Share of all requests, failed ones included, that met the objective; `None` without requests.
    #[must_use]
    pub fn share_within_objective(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 requests")]
        (self.requests > 0).then(|| self.within_objective as f64 / self.requests as f64)
    }

    /// Quantile of the time to first token of good answers (nearest rank); `None` without one.
    #[must_use]
    pub fn ttft_seconds(&self, q: f64) -> Option<f64> {
        let mut sorted = self.ttft_seconds.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank within the list"
        )]
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::client::Failure;

    #[test]
    fn failed_requests_count_against_the_objective() {
        let objective = Objective { ttft_seconds: 0.15, inter_token_seconds: 0.005 };
        let good = Outcome {
            ttft_seconds: Some(0.1),
            inter_token_seconds: Some(0.004),
            total_seconds: 0.5,
            chunks: 10,
            failure: None,
        };
        let mut report = Report::default();
        report.add(&good, objective);
        report.add(&Outcome { ttft_seconds: Some(0.2), ..good.clone() }, objective);
        report.add(&Outcome { inter_token_seconds: Some(0.006), ..good.clone() }, objective);
        report.add(&Outcome { failure: Some(Failure::Deadline), ..good }, objective);
        assert_eq!((report.requests(), report.failed(), report.chunks()), (4, 1, 40));
        assert_eq!(report.share_within_objective(), Some(0.25));
        assert_eq!((report.ttft_seconds(0.5), report.ttft_seconds(0.99)), (Some(0.1), Some(0.2)));
        assert_eq!(report.failures()["deadline"], 1);
    }
}
