//! Sensitivity to mean demand and start-up time, and ours without its parts, on one recurring trace.

use autoscaler_sim::{Discipline, StartupLaw, Stretch};

use super::{Benchmark, DAY, Report};
use crate::error::LabError;
use crate::experiment::{Experiment, Results, prepare, run, run_prepared};
use crate::output::{json_lines, summaries};
use crate::policies::{ABLATIONS, Choice};
use crate::progress::Progress;
use crate::trace::Trace;

const MEANS: [f64; 3] = [2.0, 8.0, 50.0];
const STARTUPS_SECONDS: [f64; 4] = [30.0, 120.0, 240.0, 480.0];
/// What ours is compared with while mean and start-up time vary.
const RIVAL: &str = "reactive";

pub(super) fn sensitivity(
    benchmark: &Benchmark,
    trace: &Trace,
    progress: &Progress,
    report: &mut Report,
) -> Result<(), LabError> {
    let base = &benchmark.on_one_trace();
    let policies = benchmark.ours_and(&[RIVAL]);
    report.markdown += &format!("## Sensitivity\n\n{}, baselines tuned in hindsight.\n\n{HEADING}", trace.name());
    let prepared = prepare(base, trace, progress)?;
    // The largest demand has most requests: it goes first.
    let count = MEANS.len() + STARTUPS_SECONDS.len();
    let mut played = benchmark.side_by_side("sensitivity", count, progress, |place, progress| {
        if let Some(mean) = MEANS.iter().rev().nth(place) {
            let experiment = Experiment { mean_replicas: Some(*mean), ..base.clone() };
            return run(&experiment, trace, &policies, progress);
        }
        let startup = StartupLaw::fixed(STARTUPS_SECONDS[place - MEANS.len()]);
        run_prepared(&Experiment { startup, ..base.clone() }, trace, &prepared, &policies, progress)
    })?;
    played[..MEANS.len()].reverse();
    let means = MEANS.iter().map(|mean| format!("mean demand {mean} replicas"));
    let names = means.chain(STARTUPS_SECONDS.iter().map(|seconds| format!("start-up {seconds} s")));
    for (name, results) in names.zip(&played) {
        note(report, results, &name)?;
    }
    report.markdown += "\n";
    Ok(())
}

pub(super) fn ablations(
    benchmark: &Benchmark,
    trace: &Trace,
    progress: &Progress,
    report: &mut Report,
) -> Result<(), LabError> {
    let mut policies = benchmark.ours_and(&[]);
    policies.extend(ABLATIONS.iter().copied().map(Choice::Own));
    report.markdown += &format!("## Ablations\n\n{}; ours as it is, and without its parts.\n\n", trace.name());
    for own in ABLATIONS {
        report.markdown += &format!("- `{}`: {}\n", own.name, own.source);
    }
    report.markdown += &format!("\n{HEADING}");
    // Each experiment has many policies: their own threads are busy enough.
    let base = &Experiment { threads: benchmark.experiment.threads, ..benchmark.on_one_trace() };
    let prepared = prepare(base, trace, progress)?;
    let queues = vec![Discipline::Deadline, Discipline::Fifo];
    let results = run_prepared(&Experiment { queues, ..base.clone() }, trace, &prepared, &policies, progress)?;
    note(report, &results, "after training")?;
    let days = [(0.0, 1.0, "the first day"), (1.0, 3.0, "the second and the third day")];
    for (from, to, what) in days {
        let window = Some(Stretch { from_seconds: from * DAY, to_seconds: to * DAY });
        let results = run_prepared(&Experiment { window, ..base.clone() }, trace, &prepared, &policies, progress)?;
        note(report, &results, what)?;
    }
    report.markdown += "\n";
    Ok(())
}

const HEADING: &str = "| what | policy | queue | × OPT | overflow % | attained % | worst hour % | target |\n\
                       |---|---|---|---|---|---|---|---|\n";

fn note(report: &mut Report, results: &Results, what: &str) -> Result<(), LabError> {
    report.json_lines += &json_lines(results)?;
    for summary in summaries(results) {
        report.markdown += &format!(
            "| {what} | {} | {} | {:.2} | {:.2} | {:.2} | {:.1} | {} |\n",
            summary.policy,
            summary.queue.name(),
            summary.times_opt,
            summary.overflow * 100.0,
            summary.attainment * 100.0,
            summary.attainment_worst_hour * 100.0,
            if summary.is_on_target { "kept" } else { "missed" }
        );
    }
    Ok(())
}
