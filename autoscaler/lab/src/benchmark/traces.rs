//! Every trace: tuned both ways at level fluid, the best request by request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use autoscaler_sim::{Discipline, Level};

use super::bars::{Bars, Column, Entry};
use super::{Benchmark, Follower, Report};
use crate::error::LabError;
use crate::experiment::{EventDays, Experiment, Prepared, Results, Tuning, prepare, run_prepared};
use crate::output::{Summary, html, json_lines, markdown, summaries};
use crate::policies::Choice;
use crate::progress::Progress;
use crate::trace::{Format, Lengths, Trace};

/// A trace counts as one of several days from here on.
const SEVERAL_DAYS_SECONDS: f64 = 4.0 * 86_400.0;

pub(super) fn run(
    benchmark: &Benchmark,
    traces: &[(PathBuf, Format)],
    lengths: &Lengths,
    progress: &Progress,
    report: &mut Report,
    bars: &mut Bars,
    follower: &mut dyn Follower,
) -> Result<(), LabError> {
    let before = std::mem::take(&mut report.markdown);
    let mut text = String::new();
    for (place, (path, format)) in traces.iter().enumerate() {
        let trace = Trace::load(path, *format, lengths)?;
        follower.begins(&format!("{} ({} of {})", trace.name(), place + 1, traces.len()));
        let prepared = prepare(&benchmark.experiment, &trace, progress)?;
        text += &format!("## {}\n\n", trace.name());
        for (place, &attainment) in benchmark.attainments.iter().enumerate() {
            let mut of = OfTrace { benchmark, trace: &trace, prepared: &prepared, progress, report, bars };
            text += &of.play(attainment, place == 0)?;
        }
        report.markdown = format!("{before}{}{text}", means(bars, place + 1));
        report.bars = bars.markdown();
        follower.has(report);
    }
    Ok(())
}

struct OfTrace<'a> {
    benchmark: &'a Benchmark,
    trace: &'a Trace,
    prepared: &'a Prepared,
    progress: &'a Progress,
    report: &'a mut Report,
    bars: &'a mut Bars,
}

impl OfTrace<'_> {
    fn play(&mut self, attainment: f64, is_first: bool) -> Result<String, LabError> {
        let base = Experiment {
            attainment,
            queues: vec![Discipline::Deadline],
            levels: vec![Level::Fluid],
            tuning: Tuning::Hindsight,
            keeps_steps: is_first && self.benchmark.makes_pages,
            ..self.benchmark.experiment.clone()
        };
        let all = &self.benchmark.policies;
        let mut text = String::new();
        let hindsight = self.results(&base, all)?;
        if base.keeps_steps {
            let own: Vec<&str> = all.iter().filter(|policy| policy.is_own()).map(Choice::name).collect();
            self.report.pages.push((self.trace.name().to_owned(), html(&hindsight, &own)?));
        }
        text += &self.note(&hindsight, Column::Hindsight, "fluid, tuned in hindsight")?;
        let base = Experiment { keeps_steps: false, ..base };
        let halves = Experiment { tuning: Tuning::Tuned, ..base.clone() };
        let split = self.results(&halves, all)?;
        text += &self.note(&split, Column::Split, "fluid, tuned on the first half, scored on the second")?;
        // The rest at the first attainment only: at both it would be half of the benchmark's time.
        if !is_first {
            return Ok(text);
        }
        let one_seed: Vec<u64> = base.seeds.iter().take(1).copied().collect();
        let fifo = Experiment { queues: vec![Discipline::Fifo], seeds: one_seed, ..base.clone() };
        let finalists = finalists(&hindsight, self.benchmark);
        let results = self.results(&fifo, &finalists)?;
        text += &self.note(&results, Column::Hindsight, "fluid, first come, first served")?;
        let queues = vec![Discipline::Deadline, Discipline::Fifo];
        let events = Experiment { levels: vec![Level::Events], queues, ..fifo };
        let results = self.results(&events, &finalists)?;
        text += &self.note(&results, Column::Events, "every request, tuned in hindsight")?;
        let own: Vec<Choice> = all.iter().filter(|policy| policy.is_own()).cloned().collect();
        let of_two_days = Experiment { event_days: EventDays::Two, ..events };
        let results = self.results(&of_two_days, &own)?;
        text += &self.note(&results, Column::EventsOfTwoDays, "every request of two days")?;
        Ok(text)
    }

    fn results(&self, experiment: &Experiment, policies: &[Choice]) -> Result<Results, LabError> {
        run_prepared(experiment, self.trace, self.prepared, policies, self.progress)
    }

    fn note(&mut self, results: &Results, column: Column, what: &str) -> Result<String, LabError> {
        self.report.json_lines += &json_lines(results)?;
        let peak = results.demand.replicas.iter().copied().fold(0.0, f64::max);
        for summary in summaries(results) {
            let outcome = &summary.row.outcome;
            self.bars.entries.push(Entry {
                trace: results.trace.clone(),
                lasts_several_days: results.duration_seconds >= SEVERAL_DAYS_SECONDS,
                is_recurring: results.is_recurring,
                peak_over_mean: peak / results.demand.mean_replicas(),
                policy: summary.policy.to_owned(),
                is_own: self.benchmark.policies.iter().any(|policy| policy.is_own() && policy.name() == summary.policy),
                is_clairvoyant: summary.row.is_clairvoyant,
                column,
                queue: summary.queue,
                attainment: results.task.attainment,
                times_opt: summary.times_opt,
                is_on_target: summary.is_on_target,
                wasted_share: summary.wasted_share,
                coverage: outcome.forecast_coverage,
            });
        }
        let percent = results.task.attainment * 100.0;
        Ok(format!("### {}, {percent} %, {what}\n\n{}\n", results.trace, markdown(results)))
    }
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
fn means(bars: &Bars, traces: usize) -> String {
    let mut text =
        "## All traces\n\nGeometric mean of × OPT, the worst trace, and on how many the target was kept.\n\n\
                    | policy | what | target % | mean × OPT | worst | target kept |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let mut scores: BTreeMap<(&str, String, u64), Vec<&Entry>> = BTreeMap::new();
    for entry in &bars.entries {
        let column = format!("{}, {}", entry.column.words(), entry.queue.name());
        scores.entry((&entry.policy, column, entry.attainment.to_bits())).or_default().push(entry);
    }
    for ((policy, column, attainment), entries) in scores {
        let times: Vec<f64> = entries.iter().map(|entry| entry.times_opt).collect();
        let Some(mean) = super::bars::geometric_mean(&times).filter(|_| times.len() >= traces) else { continue };
        let worst = times.iter().copied().fold(0.0, f64::max);
        let kept = entries.iter().filter(|entry| entry.is_on_target).count();
        let target = f64::from_bits(attainment) * 100.0;
        text += &format!("| {policy} | {column} | {target} | {mean:.2} | {worst:.2} | {kept} of {traces} |\n");
    }
    text + "\n"
}
