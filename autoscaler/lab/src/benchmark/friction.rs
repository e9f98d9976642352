//! Request by request on one recurring trace: what it costs that starts vary and fail, fresh engines are slow, metrics are
//! late and clients come back.

use autoscaler_sim::events::{Friction, Retries, Scrape, WarmUp};
use autoscaler_sim::{Level, StartupLaw, Stretch};

use super::{Benchmark, DAY, Report, middle_day};
use crate::error::LabError;
use crate::experiment::{Experiment, prepare, run_prepared};
use crate::output::{json_lines, summaries};
use crate::progress::Progress;
use crate::trace::Trace;

/// A rival, where it is among the policies; tuned in hindsight with the friction.
const RIVAL: &str = "reactive";
const WARM_UP: WarmUp = WarmUp { seconds: 120.0, slowdown: 2.0 };
/// A Prometheus' usual interval.
const SCRAPE: Scrape = Scrape { period_seconds: 15.0, delay_seconds: 5.0, loss_share: 0.05 };
const RETRIES: Retries = Retries { share: 1.0, backoff_seconds: 1.0, most: 3 };

pub(super) fn play(
    benchmark: &Benchmark,
    trace: &Trace,
    progress: &Progress,
    report: &mut Report,
) -> Result<(), LabError> {
    let from_seconds = middle_day(benchmark.experiment.train_seconds, trace.duration_seconds());
    let window = Some(Stretch { from_seconds, to_seconds: from_seconds + DAY });
    let base = Experiment { levels: vec![Level::Events], window, ..benchmark.on_one_trace() };
    let (usual, ideal) = (base.startup, Friction::default());
    let bad_starts = StartupLaw { cv: 0.5, failed_share: 0.05, ..usual };
    let all = Friction { warm_up: WARM_UP, scrape: SCRAPE, retries: Some(RETRIES) };
    let frictions = [
        ("none", usual, ideal),
        ("starts vary by half, one in twenty fails", bad_starts, ideal),
        ("engines are half as fast for 2 min", usual, Friction { warm_up: WARM_UP, ..ideal }),
        ("metrics every 15 s, 5 s late, one in twenty lost", usual, Friction { scrape: SCRAPE, ..ideal }),
        ("clients come back from an error three times", usual, Friction { retries: Some(RETRIES), ..ideal }),
        ("all of these", bad_starts, all),
    ];
    let policies = benchmark.ours_and(&[RIVAL]);
    report.markdown += &format!(
        "## Friction\n\n{}, every request of the middle day of what is scored.\n\n\
         | friction | policy | × OPT | attained % | worst hour % | TTFT p99 s | starts wasted |\n|---|---|---|---|---|---|---|\n",
        trace.name(),
    );
    let prepared = prepare(&base, trace, progress)?;
    let played = benchmark.side_by_side("friction", frictions.len(), progress, |place, progress| {
        let (_, startup, friction) = frictions[place];
        let experiment = Experiment { startup, friction, ..base.clone() };
        run_prepared(&experiment, trace, &prepared, &policies, progress)
    })?;
    for ((name, ..), results) in frictions.iter().zip(played) {
        report.json_lines += &json_lines(&results)?;
        for summary in summaries(&results) {
            report.markdown += &format!(
                "| {name} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {} |\n",
                summary.policy,
                summary.times_opt,
                summary.attainment * 100.0,
                summary.attainment_worst_hour * 100.0,
                summary.row.outcome.ttft_seconds.p99,
                summary.row.outcome.starts_wasted,
            );
        }
    }
    report.markdown += "\n";
    Ok(())
}
