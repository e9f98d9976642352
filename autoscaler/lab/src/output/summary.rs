//! The seeds of a policy taken together: medians.

use autoscaler_sim::bootstrap::Interval;
use autoscaler_sim::{Discipline, Level};

use crate::experiment::{Results, Row};

/// One policy at one level with one queue: medians over the seeds.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    /// The run of the median cost: for everything that is not averaged.
    pub row: &'a Row,
    /// Name.
    pub policy: &'a str,
    /// Level.
    pub level: Level,
    /// Queue.
    pub queue: Discipline,
    /// Cost over that of the optimum.
    pub times_opt: f64,
    /// Share of requests within the objective.
    pub attainment: f64,
    /// The same in the worst hour.
    pub attainment_worst_hour: f64,
    /// Share of demand above the Ready replicas.
    pub overflow: f64,
    /// Engines billed in the mean.
    pub mean_replicas: f64,
    /// 95 % quantile of the time to first token, in seconds.
    pub ttft_p95_seconds: f64,
    /// Share of the engines ordered that were deleted before they were Ready; 0 without orders.
    pub wasted_share: f64,
    /// Changes of direction within ten minutes, per day.
    pub reversals_per_day: f64,
    /// 95 % interval of times OPT, of the median run.
    pub times_opt_interval: Option<Interval>,
    /// 95 % interval of the overflow, of the median run.
    pub overflow_interval: Option<Interval>,
    /// Cost over the optimum's at exactly the target, on the hull of the settings; in hindsight only.
    pub matched_times_opt: Option<f64>,
    /// Whether the median run keeps the target: overflow at fluid, attainment at events.
    pub is_on_target: bool,
}

/// The seeds of each policy, queue and level together, in the order of the rows.
#[must_use]
pub fn summaries(results: &Results) -> Vec<Summary<'_>> {
    let same = |a: &Row, b: &Row| {
        (&a.outcome.policy, a.outcome.level, a.outcome.queue) == (&b.outcome.policy, b.outcome.level, b.outcome.queue)
    };
    results.rows.chunk_by(same).filter_map(|rows| summary(rows, results.task.attainment)).collect()
}

fn summary(rows: &[Row], target: f64) -> Option<Summary<'_>> {
    let mut order: Vec<&Row> = rows.iter().collect();
    order.sort_by(|a, b| a.outcome.times_opt.total_cmp(&b.outcome.times_opt));
    let row = *order.get((rows.len() - 1) / 2)?;
    let outcome = &row.outcome;
    let median = |of: fn(&Row) -> f64| median(rows.iter().map(of).collect());
    let overflow = median(|row| row.outcome.overflow);
    let attainment = median(|row| row.outcome.attainment);
    let reached = match outcome.level {
        Level::Fluid => 1.0 - overflow,
        Level::Events => attainment,
    };
    Some(Summary {
        row,
        policy: &outcome.policy,
        level: outcome.level,
        queue: outcome.queue,
        times_opt: median(|row| row.outcome.times_opt),
        attainment,
        attainment_worst_hour: median(|row| row.outcome.attainment_worst_hour),
        overflow,
        mean_replicas: median(|row| row.outcome.mean_replicas),
        ttft_p95_seconds: median(|row| row.outcome.ttft_seconds.p95),
        wasted_share: median(|row| row.outcome.starts_wasted as f64 / row.outcome.starts.max(1) as f64),
        reversals_per_day: median(|row| row.outcome.reversals_per_day),
        times_opt_interval: row.times_opt_interval,
        overflow_interval: row.overflow_interval,
        matched_times_opt: row.matched_times_opt,
        is_on_target: reached >= target,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        values if values.len() % 2 == 1 => values[middle],
        values => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_value_or_the_mean_of_the_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(Vec::new()).is_nan());
    }
}
