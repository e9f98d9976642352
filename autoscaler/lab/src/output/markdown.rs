//! Tables for documentation.

use super::summary::summaries;
use super::table::heading;
use super::words::{interval, legend, level, percent, shares, times};
use crate::experiment::Results;

/// Results as a markdown table of medians over the seeds with intervals.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let mut text = format!("{}\n\n", heading(results).replace('\n', "; "));
    text += "| policy | how set | level | queue | × OPT | 95 % | matched | overflow % | 95 % | attained % | worst hour % | \
             replicas | TTFT p95 s | wasted % | reversals/day |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    let summaries = summaries(results);
    for summary in &summaries {
        let [overflow, attainment] = shares(summary);
        let cells = [
            format!("{}{}", summary.policy, if summary.row.is_clairvoyant { " *" } else { "" }),
            summary.row.outcome.tuned.clone(),
            level(summary.level).to_owned(),
            summary.queue.name().to_owned(),
            times(summary.times_opt),
            interval(summary.times_opt_interval, times),
            summary.matched_times_opt.map_or_else(|| "–".into(), times),
            overflow,
            interval(summary.overflow_interval, percent),
            attainment,
            percent(summary.attainment_worst_hour),
            format!("{:.2}", summary.mean_replicas),
            format!("{:.2}", summary.ttft_p95_seconds),
            percent(summary.wasted_share),
            format!("{:.0}", summary.reversals_per_day),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    let legend = legend(&summaries);
    if !legend.is_empty() {
        text += &format!("\n{legend}\n");
    }
    for note in &results.notes {
        text += &format!("\nNote: {note}.\n");
    }
    text
}
