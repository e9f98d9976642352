//! A report in one file: no network, light and dark, plots by the uPlot that the standalone page packs.

use autoscaler_sim::fluid::{Block, Steps};
use serde::Serialize;

use super::summary::{Summary, summaries};
use super::table::heading;
use super::why::why;
use super::words::level;
use crate::experiment::{Results, Row, STEP_SECONDS};

const PAGE: &str = include_str!("page/report.html");
const STYLE: &str = include_str!("page/report.css");
const SCRIPT: &str = include_str!("page/report.js");
const UPLOT_SCRIPT: &str = include_str!("../../../src/standalone/page/static/uplot.min.js");
const UPLOT_STYLE: &str = include_str!("../../../src/standalone/page/static/uplot.min.css");
const UPLOT_LICENSE: &str = include_str!("../../../src/standalone/page/static/uplot.LICENSE");

/// Points of a plot: more than the pixels of a screen only make the file large.
const MOST_POINTS: usize = 4000;

#[derive(Serialize)]
struct Data<'a> {
    trace: &'a str,
    heading: String,
    notes: &'a [String],
    target: f64,
    ttft_objective_seconds: f64,
    startup_seconds: f64,
    scored_from_seconds: f64,
    step_seconds: f64,
    demand: Vec<f32>,
    optimum: Vec<f32>,
    optimum_with_misses: Option<f64>,
    runs: Vec<RunData<'a>>,
}

#[derive(Serialize)]
struct RunData<'a> {
    name: String,
    policy: &'a str,
    level: &'static str,
    queue: &'static str,
    tuned: &'a str,
    setting: &'a str,
    is_own: bool,
    is_clairvoyant: bool,
    is_on_target: bool,
    times_opt: f64,
    times_opt_interval: Option<[f64; 2]>,
    matched_times_opt: Option<f64>,
    overflow: f64,
    overflow_interval: Option<[f64; 2]>,
    attainment: f64,
    attainment_worst_hour: f64,
    mean_replicas: f64,
    ttft_p95_seconds: f64,
    wasted_share: f64,
    reversals_per_day: f64,
    frontier: Vec<[f64; 2]>,
    days: Vec<[f64; 3]>,
    ready: Vec<f32>,
    billed: Vec<f32>,
    wait: Vec<f32>,
    why: Vec<String>,
}

/// The report.
///
/// # Errors
/// None in practice: the data are numbers and text.
pub fn html(results: &Results, own: &[&str]) -> Result<String, serde_json::Error> {
    let every = results.demand.replicas.len().div_ceil(MOST_POINTS).max(1);
    let data = Data {
        trace: &results.trace,
        heading: heading(results),
        notes: &results.notes,
        target: results.task.attainment,
        ttft_objective_seconds: results.task.objective.ttft_seconds,
        startup_seconds: results.task.startup_seconds,
        scored_from_seconds: results.scored.from_seconds,
        step_seconds: STEP_SECONDS * every as f64,
        demand: thinned(results.demand.replicas.iter().copied(), every, f64::max),
        optimum: thinned(results.optimum.iter().map(|&n| f64::from(n)), every, f64::max),
        optimum_with_misses: results.optimum_with_misses,
        runs: summaries(results).iter().map(|summary| run(results, summary, own, every)).collect(),
    };
    // Nothing in the data can end the script element it stands in.
    let data = serde_json::to_string(&data)?.replace('<', "\\u003c");
    let title = results.trace.replace('&', "&amp;").replace('<', "&lt;");
    let parts = [
        ("{{title}}", title.as_str()),
        ("{{uplot-license}}", UPLOT_LICENSE),
        ("{{uplot-style}}", UPLOT_STYLE),
        ("{{style}}", STYLE),
        ("{{uplot-script}}", UPLOT_SCRIPT),
        ("{{script}}", SCRIPT),
        ("{{data}}", data.as_str()),
    ];
    Ok(filled(PAGE, &parts))
}

/// Puts each part in its place; a part is not searched for the places of others.
fn filled(page: &str, parts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = page;
    loop {
        let next = parts.iter().filter_map(|(place, part)| Some((rest.find(place)?, place.len(), *part))).min();
        let Some((at, length, part)) = next else {
            text.push_str(rest);
            return text;
        };
        text.push_str(&rest[..at]);
        text.push_str(part);
        rest = &rest[at + length..];
    }
}

fn run<'a>(results: &Results, summary: &Summary<'a>, own: &[&str], every: usize) -> RunData<'a> {
    let row = summary.row;
    let steps = steps_of(results, row);
    let several = results.rows.iter().any(|other| {
        other.outcome.policy == row.outcome.policy
            && (other.outcome.level, other.outcome.queue) != (row.outcome.level, row.outcome.queue)
    });
    let name = if several {
        format!("{} · {} · {}", summary.policy, level(summary.level), summary.queue.name())
    } else {
        summary.policy.to_owned()
    };
    let pair = |interval: autoscaler_sim::bootstrap::Interval| [interval.low, interval.high];
    RunData {
        name,
        policy: summary.policy,
        level: level(summary.level),
        queue: summary.queue.name(),
        tuned: &row.outcome.tuned,
        setting: &row.setting,
        is_own: own.contains(&summary.policy),
        is_clairvoyant: row.is_clairvoyant,
        is_on_target: summary.is_on_target,
        times_opt: summary.times_opt,
        times_opt_interval: summary.times_opt_interval.map(pair),
        matched_times_opt: summary.matched_times_opt,
        overflow: summary.overflow,
        overflow_interval: summary.overflow_interval.map(pair),
        attainment: summary.attainment,
        attainment_worst_hour: summary.attainment_worst_hour,
        mean_replicas: summary.mean_replicas,
        ttft_p95_seconds: summary.ttft_p95_seconds,
        wasted_share: summary.wasted_share,
        reversals_per_day: summary.reversals_per_day,
        frontier: row.frontier.iter().map(|point| [point.miss, point.cost]).collect(),
        days: row.days.iter().map(|day| [day.times_opt(), Block::overflow(day), day.attainment()]).collect(),
        ready: steps.map_or_else(Vec::new, |s| thinned(s.ready.iter().copied(), every, f64::min)),
        billed: steps.map_or_else(Vec::new, |s| thinned(s.replicas.iter().map(|&n| f64::from(n)), every, f64::max)),
        wait: steps.map_or_else(Vec::new, |s| thinned(s.wait_seconds.iter().copied(), every, f64::max)),
        why: steps.map_or_else(Vec::new, |s| why(results, s)),
    }
}

/// Steps of the first seed's run, which is the one that kept them.
fn steps_of<'a>(results: &'a Results, row: &Row) -> Option<&'a Steps> {
    let same = results.rows.iter().filter(|other| {
        (&other.outcome.policy, other.outcome.level, other.outcome.queue)
            == (&row.outcome.policy, row.outcome.level, row.outcome.queue)
    });
    same.filter_map(|other| other.steps.as_ref()).next()
}

/// One value for each `every` of them, with two decimals.
fn thinned(values: impl Iterator<Item = f64>, every: usize, join: fn(f64, f64) -> f64) -> Vec<f32> {
    let mut thin = Vec::new();
    let mut current: Option<f64> = None;
    for (place, value) in values.enumerate() {
        current = Some(current.map_or(value, |so_far| join(so_far, value)));
        if (place + 1) % every == 0 {
            thin.extend(current.take());
        }
    }
    thin.extend(current);
    thin.into_iter().map(|value| ((value * 100.0).round() / 100.0) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_what_the_join_keeps() {
        let values = [1.0, 5.0, 2.0, 0.5, 7.0];
        assert_eq!(thinned(values.into_iter(), 2, f64::max), [5.0, 2.0, 7.0]);
        assert_eq!(thinned(values.into_iter(), 2, f64::min), [1.0, 0.5, 7.0]);
    }

    #[test]
    fn parts_are_put_in_their_places_and_not_searched_again() {
        assert_eq!(filled("a {{x}} b {{y}}", &[("{{x}}", "{{y}}"), ("{{y}}", "2")]), "a {{y}} b 2");
    }

    #[test]
    fn the_page_has_a_place_for_every_part() {
        for place in ["title", "uplot-license", "uplot-style", "style", "uplot-script", "script", "data"] {
            assert_eq!(PAGE.matches(&format!("{{{{{place}}}}}")).count(), 1 + usize::from(place == "title"), "{place}");
        }
    }
}
