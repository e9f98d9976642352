//! Tables for a terminal.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::summary::{Summary, summaries};
use super::words::{interval, legend, level, percent, shares, span, times};
use crate::experiment::Results;
use crate::policies::Choice;

/// Results as a table of medians over the seeds, with what was asked above and notes below.
#[must_use]
pub fn table(results: &Results) -> String {
    drawn(results, Table::new())
}

/// The same in an empty table, which knows whether it is as wide as a terminal.
pub(super) fn drawn(results: &Results, mut table: Table) -> String {
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "policy",
        "level",
        "queue",
        "× OPT",
        "95 %",
        "overflow %",
        "95 %",
        "attained %",
        "worst hour %",
        "replicas",
        "TTFT p95",
        "wasted %",
        "rev/day",
        "setting",
    ]);
    let summaries = summaries(results);
    for summary in &summaries {
        table.add_row(cells(summary));
    }
    let mut text = format!("{}\n{table}\n", heading(results));
    let legend = legend(&summaries);
    if !legend.is_empty() {
        text += &format!("{legend}\n");
    }
    for note in &results.notes {
        text += &format!("note: {note}\n");
    }
    text
}

/// All policies with where they come from.
#[must_use]
pub fn policy_list(policies: &[Choice]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["policy", "settings", "what it is and where it comes from"]);
    for policy in policies {
        let settings = if policy.is_own() { "none".to_owned() } else { policy.settings().len().to_string() };
        let clairvoyant = if policy.is_clairvoyant() { "Knows the future. " } else { "" };
        table.add_row([policy.name().to_owned(), settings, format!("{clairvoyant}{}", policy.source())]);
    }
    format!("{table}\n")
}

/// What was asked, in one line.
pub(super) fn heading(results: &Results) -> String {
    let task = &results.task;
    let recurs = match results.day_autocorrelation {
        Some(r) if results.is_recurring => format!(", recurring (autocorrelation at a day {r:.2})"),
        Some(r) => format!(", not recurring (autocorrelation at a day {r:.2})"),
        None => String::new(),
    };
    let with_misses = results
        .optimum_with_misses
        .map(|ratio| format!("; OPT with the allowed misses costs {ratio:.2}"))
        .unwrap_or_default();
    format!(
        "{}: {}, rates × {:.4}, mean demand {:.2} replicas{recurs}\n{} requests at \
         once a replica (mean request {:.0} + {:.0} tokens), start-up {} s, target {} % within {} s and {} ms a \
         token{with_misses}",
        results.trace,
        span(results.duration_seconds, results.train_seconds),
        results.factor,
        results.demand.mean_replicas(),
        task.capacity.concurrency,
        task.workload.prompt_tokens,
        task.workload.output_tokens,
        task.startup_seconds,
        task.attainment * 100.0,
        task.objective.ttft_seconds,
        task.objective.inter_token_seconds * 1e3,
    )
}

fn cells(summary: &Summary<'_>) -> Vec<Cell> {
    let [overflow, attainment] = shares(summary);
    let matched = summary.matched_times_opt.map(|m| format!(" ({} matched)", times(m))).unwrap_or_default();
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    vec![
        Cell::new(format!("{}{}", summary.policy, if summary.row.is_clairvoyant { " *" } else { "" })),
        Cell::new(level(summary.level)),
        Cell::new(summary.queue.name()),
        number(format!("{}{matched}", times(summary.times_opt))),
        number(interval(summary.times_opt_interval, times)),
        number(overflow),
        number(interval(summary.overflow_interval, percent)),
        number(attainment),
        number(percent(summary.attainment_worst_hour)),
        number(format!("{:.2}", summary.mean_replicas)),
        number(format!("{:.2} s", summary.ttft_p95_seconds)),
        number(percent(summary.wasted_share)),
        number(format!("{:.0}", summary.reversals_per_day)),
        Cell::new(&summary.row.setting),
    ]
}
