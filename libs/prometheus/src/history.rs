//! Values over days, asked for in pieces: a Prometheus answers at most 11,000 points a series.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::client::{Client, QueryError};
use crate::response::{Answer, RangeSeries};

/// Points of one question, well below what is answered.
const POINTS_A_QUESTION: u32 = 5_000;

/// Points in all, 64 MB of them: twenty series of a fortnight in steps of ten seconds.
const MOST_POINTS: usize = 4_000_000;

impl Client {
    /// Values over time, one per `step`, from the first moment to the last, both on whole steps since 1970. Series of the
    /// same labels are joined over the pieces; the warnings are those of all pieces.
    ///
    /// # Errors
    /// See [`QueryError`]; the first piece that fails.
    pub async fn query_history(
        &self,
        promql: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Answer<RangeSeries>, QueryError> {
        let mut all = Answer { series: Vec::<RangeSeries>::new(), warnings: Vec::new(), histograms: 0 };
        // Whole seconds: that is what questions are asked in.
        let step = Duration::from_secs(step.as_secs().max(1));
        let seconds = i64::try_from(step.as_secs()).unwrap_or(i64::MAX);
        let whole = |moment: Timestamp| moment.as_second().div_euclid(seconds) * seconds;
        let (mut at, end) = (whole(from), whole(to));
        while at <= end {
            // A step less, because both ends are answered.
            let last = end.min(at.saturating_add(seconds.saturating_mul(i64::from(POINTS_A_QUESTION) - 1)));
            let answer = self.query_range(promql, moment(at), moment(last), step).await?;
            for piece in answer.series {
                match all.series.iter_mut().find(|series| series.labels == piece.labels) {
                    Some(series) => series.points.extend(piece.points),
                    None => all.series.push(piece),
                }
            }
            for warning in answer.warnings {
                if !all.warnings.contains(&warning) {
                    all.warnings.push(warning);
                }
            }
            all.histograms += answer.histograms;
            if all.series.iter().map(|series| series.points.len()).sum::<usize>() > MOST_POINTS {
                let message =
                    format!("more than {MOST_POINTS} points; aggregate in the query, or ask for longer steps");
                return Err(self.unusable(message));
            }
            at = last.saturating_add(seconds);
        }
        Ok(all)
    }
}

fn moment(seconds: i64) -> Timestamp {
    let edge = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(edge)
}
