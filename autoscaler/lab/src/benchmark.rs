//! The whole benchmark: every trace, tuned both ways, at both levels, as tables for documentation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use autoscaler_sim::{Discipline, Level};

use crate::error::LabError;
use crate::experiment::{Experiment, Prepared, Results, Tuning, prepare, run_prepared};
use crate::output::{Summary, markdown, summaries};
use crate::policies::Choice;
use crate::progress::Progress;
use crate::trace::{Format, Lengths, Trace};

/// What is run on every trace.
#[derive(Clone)]
pub struct Benchmark {
    /// Engine, start-up time, seeds; levels, queues, tuning and attainment are the benchmark's own.
    pub experiment: Experiment,
    /// Attainments, 0 to 1; the first is also played request by request.
    pub attainments: Vec<f64>,
    /// Policies.
    pub policies: Vec<Choice>,
    /// Baselines that are also played request by request, besides ours and the optimum.
    pub finalists: usize,
}

/// What a policy came to on one trace: times OPT, and whether it kept the target.
type Scores = BTreeMap<(String, String, u64), Vec<(f64, bool)>>;

/// Runs it: the tables of every trace and the geometric means over them. `tell` is told what is done.
///
/// # Errors
/// If a trace cannot be used.
pub fn run(
    benchmark: &Benchmark,
    traces: &[(PathBuf, Format)],
    lengths: &Lengths,
    progress: &Progress,
    tell: &mut dyn FnMut(&str),
) -> Result<String, LabError> {
    let mut text = String::new();
    let mut scores = Scores::new();
    for (place, (path, format)) in traces.iter().enumerate() {
        let trace = Trace::load(path, *format, lengths)?;
        tell(&format!("{} ({} of {})", trace.name(), place + 1, traces.len()));
        let prepared = prepare(&benchmark.experiment, &trace, progress)?;
        text += &format!("## {}\n\n", trace.name());
        for &attainment in &benchmark.attainments {
            text += &of_trace(benchmark, &trace, &prepared, attainment, progress, &mut scores)?;
        }
    }
    Ok(format!("{}{text}", means(&scores, traces.len())))
}

fn of_trace(
    benchmark: &Benchmark,
    trace: &Trace,
    prepared: &Prepared,
    attainment: f64,
    progress: &Progress,
    scores: &mut Scores,
) -> Result<String, LabError> {
    let base = Experiment {
        attainment,
        queues: vec![Discipline::Deadline],
        levels: vec![Level::Fluid],
        tuning: Tuning::Hindsight,
        ..benchmark.experiment.clone()
    };
    let mut text = String::new();
    let percent = attainment * 100.0;
    let mut note = |what: &str, column: &str, results: &Results| {
        text += &format!("### {}, {percent} %, {what}\n\n{}\n", results.trace, markdown(results));
        for summary in summaries(results) {
            let queue = match summary.queue {
                Discipline::Fifo => "fifo",
                Discipline::Deadline => "deadline",
            };
            let key = (summary.policy.to_owned(), format!("{column}, {queue}"), attainment.to_bits());
            scores.entry(key).or_default().push((summary.times_opt, summary.is_on_target));
        }
    };
    let hindsight = run_prepared(&base, trace, prepared, &benchmark.policies, progress)?;
    note("fluid, tuned in hindsight", "fluid hindsight", &hindsight);
    let halves = Experiment { tuning: Tuning::Tuned, ..base.clone() };
    let tuned = run_prepared(&halves, trace, prepared, &benchmark.policies, progress)?;
    note("fluid, tuned on the first half, scored on the second", "fluid split", &tuned);
    // Request by request at the first attainment only: at both it would be half of the benchmark's time.
    if benchmark.attainments.first().is_none_or(|first| (first - attainment).abs() > 1e-12) {
        return Ok(text);
    }
    let finalists = finalists(&hindsight, benchmark);
    let events = Experiment {
        levels: vec![Level::Events],
        queues: vec![Discipline::Deadline, Discipline::Fifo],
        seeds: base.seeds.iter().take(1).copied().collect(),
        ..base.clone()
    };
    let results = run_prepared(&events, trace, prepared, &finalists, progress)?;
    note("every request of two days, tuned in hindsight", "events", &results);
    Ok(text)
}

/// Ours, and the cheapest baselines on target.
fn finalists(results: &Results, benchmark: &Benchmark) -> Vec<Choice> {
    let mut found = summaries(results);
    found.retain(|summary: &Summary<'_>| !summary.row.is_clairvoyant && summary.is_on_target);
    found.sort_by(|a, b| a.times_opt.total_cmp(&b.times_opt));
    let best: Vec<&str> = found
        .iter()
        .map(|summary| summary.policy)
        .filter(|name| benchmark.policies.iter().any(|policy| policy.name() == *name && !policy.is_own()))
        .take(benchmark.finalists)
        .collect();
    benchmark.policies.iter().filter(|policy| policy.is_own() || best.contains(&policy.name())).cloned().collect()
}

/// Geometric means over the traces, for policies that were scored on all of them.
fn means(scores: &Scores, traces: usize) -> String {
    let mut text =
        "## All traces\n\nGeometric mean of × OPT, the worst trace, and on how many the target was kept.\n\n\
                    | policy | what | target % | mean × OPT | worst | target kept |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for ((policy, column, attainment), values) in scores {
        if values.len() < traces || values.iter().any(|(times, _)| !times.is_finite() || *times <= 0.0) {
            continue;
        }
        let mean = (values.iter().map(|(times, _)| times.ln()).sum::<f64>() / values.len() as f64).exp();
        let worst = values.iter().map(|(times, _)| *times).fold(0.0, f64::max);
        let kept = values.iter().filter(|(_, kept)| *kept).count();
        let target = f64::from_bits(*attainment) * 100.0;
        text += &format!("| {policy} | {column} | {target} | {mean:.2} | {worst:.2} | {kept} of {traces} |\n");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_over_all_traces_needs_a_score_on_each() {
        let mut scores = Scores::new();
        scores.insert(("a".into(), "fluid".into(), 0.99_f64.to_bits()), vec![(1.0, true), (4.0, false)]);
        scores.insert(("b".into(), "fluid".into(), 0.99_f64.to_bits()), vec![(1.0, true)]);
        let text = means(&scores, 2);
        assert!(text.contains("| a | fluid | 99 | 2.00 | 4.00 | 1 of 2 |"), "{text}");
        assert!(!text.contains("| b |"));
    }
}
