//! What goes wrong, on one recurring trace: how bad the worst hour is, and how long it takes.

use autoscaler_sim::fluid::Block;
use autoscaler_sim::{Faults, Stretch};

use super::{Benchmark, DAY, Report, middle_day};
use crate::error::LabError;
use crate::experiment::{Experiment, prepare, run};
use crate::output::{json_lines, summaries};
use crate::progress::Progress;
use crate::trace::{Lengths, Trace};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
/// What is scored: from the begin of the stress.
const SCORED_SECONDS: f64 = 3.0 * DAY;
/// An hour that misses more of its demand is one of those that count for the recovery.
const BAD_HOUR: f64 = 0.05;
/// Rivals, where they are among the policies; tuned in hindsight on the stressed days themselves.
const RIVALS: [&str; 4] = ["reactive", "law-a", "cron-hpa", "hpa-queue"];

/// What goes wrong.
struct Stress {
    name: &'static str,
    rates: fn(&[f64], usize) -> Vec<f64>,
    faults: fn(Stretch, u32) -> Faults,
    seconds: f64,
}

fn same(rates: &[f64], _at: usize) -> Vec<f64> {
    rates.to_vec()
}

fn no_faults(_when: Stretch, _mean: u32) -> Faults {
    Faults::default()
}

fn times(rates: &[f64], from: usize, seconds: f64, factor: f64) -> Vec<f64> {
    let to = from + (seconds / MINUTE) as usize;
    let at = |(minute, rate): (usize, &f64)| if (from..to).contains(&minute) { rate * factor } else { *rate };
    rates.iter().enumerate().map(at).collect()
}

const STRESSES: [Stress; 8] = [
    Stress { name: "none", rates: same, faults: no_faults, seconds: 0.0 },
    Stress {
        name: "pattern 3 h later from then on",
        rates: |rates, at| {
            let late = |minute: usize| if minute < at { minute } else { minute - minute.min(180) };
            (0..rates.len()).map(|minute| rates[late(minute)]).collect()
        },
        faults: no_faults,
        seconds: 0.0,
    },
    Stress {
        name: "flash crowd, × 10 for 20 min",
        rates: |rates, at| times(rates, at, 20.0 * MINUTE, 10.0),
        faults: no_faults,
        seconds: 20.0 * MINUTE,
    },
    Stress {
        name: "stock-out for 3 h: no more machines than the mean demand",
        rates: same,
        faults: |when, mean| Faults { stock_outs: vec![(when, mean)], ..Faults::default() },
        seconds: 3.0 * HOUR,
    },
    Stress {
        name: "80 % of starts fail for 3 h",
        rates: same,
        faults: |when, _| Faults { failing_starts: vec![(when, 0.8)], ..Faults::default() },
        seconds: 3.0 * HOUR,
    },
    Stress {
        name: "scrapes lost for 30 min",
        rates: same,
        faults: |when, _| Faults { scrape_losses: vec![when], ..Faults::default() },
        seconds: 30.0 * MINUTE,
    },
    Stress {
        name: "silence for 6 h",
        rates: |rates, at| times(rates, at, 6.0 * HOUR, 0.0),
        faults: no_faults,
        seconds: 6.0 * HOUR,
    },
    Stress {
        name: "weekend: 30 % for 2 days",
        rates: |rates, at| times(rates, at, 2.0 * DAY, 0.3),
        faults: no_faults,
        seconds: 2.0 * DAY,
    },
];

pub(super) fn play(
    benchmark: &Benchmark,
    trace: &Trace,
    lengths: &Lengths,
    progress: &Progress,
    report: &mut Report,
) -> Result<(), LabError> {
    let policies = benchmark.ours_and(&RIVALS);
    let rates: Vec<f64> = trace.counts(MINUTE).into_iter().map(|count| count / MINUTE).collect();
    let at = begin(&rates, benchmark.experiment.train_seconds);
    let from_seconds = at as f64 * MINUTE;
    let window = Some(Stretch { from_seconds, to_seconds: from_seconds + SCORED_SECONDS });
    let base = Experiment { window, ..benchmark.on_one_trace() };
    report.markdown += &format!(
        "## Stress\n\n{}, from {:.2} days on, half an hour before the day's peak; scored for three days from there. \
         Recovery: hours from the begin of the stress to the end of the last hour that missed more than {} % of its \
         demand.\n\n| stress | policy | × OPT | overflow % | attained % | worst hour % | recovery h |\n\
         |---|---|---|---|---|---|---|\n",
        trace.name(),
        from_seconds / DAY,
        BAD_HOUR * 100.0
    );
    let stressed = |stress: &Stress, scale: f64| {
        let series = (stress.rates)(&rates, at).into_iter().enumerate();
        let series: Vec<(f64, f64)> = series.map(|(minute, rate)| (minute as f64 * MINUTE, rate * scale)).collect();
        Trace::from_rates(&format!("{}, {}", trace.name(), stress.name), &[series], lengths)
    };
    // The stress is not part of what the load is scaled by.
    let factor = prepare(&base, &stressed(&STRESSES[0], 1.0)?, progress)?.factor();
    let played = benchmark.side_by_side("stress", STRESSES.len(), progress, |place, progress| {
        let stress = &STRESSES[place];
        let when = Stretch { from_seconds, to_seconds: from_seconds + stress.seconds };
        let mean = base.mean_replicas.unwrap_or(1.0).ceil() as u32;
        let experiment = Experiment { mean_replicas: None, faults: (stress.faults)(when, mean), ..base.clone() };
        run(&experiment, &stressed(stress, factor)?, &policies, progress)
    })?;
    for (stress, results) in STRESSES.iter().zip(played) {
        report.json_lines += &json_lines(&results)?;
        for summary in summaries(&results) {
            report.markdown += &format!(
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.1} | {} |\n",
                stress.name,
                summary.policy,
                summary.times_opt,
                summary.overflow * 100.0,
                summary.attainment * 100.0,
                summary.attainment_worst_hour * 100.0,
                recovery_hours(&summary.row.hours)
            );
        }
    }
    report.markdown += "\n";
    Ok(())
}

/// Half an hour before the peak of the middle day of what is scored, in minutes.
fn begin(rates: &[f64], train_seconds: f64) -> usize {
    let day = (DAY / MINUTE) as usize;
    let middle = (middle_day(train_seconds, rates.len() as f64 * MINUTE) / MINUTE) as usize;
    let load = |minute: usize| rates[minute..].iter().take(10).sum::<f64>();
    let peak = (middle..(middle + day).min(rates.len())).max_by(|a, b| load(*a).total_cmp(&load(*b)));
    peak.unwrap_or(middle).saturating_sub(30)
}

/// Hours up to the end of the last bad one.
fn recovery_hours(hours: &[Block]) -> usize {
    hours.iter().rposition(|hour| hour.overflow() > BAD_HOUR).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_ends_with_the_last_bad_hour() {
        let hour = |missed: f64| Block { demand: 100.0, missed_demand: missed, ..Block::default() };
        assert_eq!(recovery_hours(&[hour(50.0), hour(1.0), hour(6.0), hour(5.0)]), 3);
        assert_eq!(recovery_hours(&[hour(0.0), hour(2.0)]), 0);
    }

    #[test]
    fn the_stress_begins_before_the_peak_and_its_rates_are_as_named() {
        // Eight days with a peak at noon.
        let rates: Vec<f64> = (0..8 * 1440).map(|minute| if minute % 1440 == 720 { 9.0 } else { 1.0 }).collect();
        let at = begin(&rates, 2.0 * DAY);
        assert_eq!(at / 1440, 5);
        assert!((680..=720).contains(&(at % 1440 + 10)), "{at}");
        let crowd = (STRESSES[2].rates)(&rates, at);
        assert!((crowd[at] - 10.0).abs() < 1e-12 && (crowd[at + 20] - 1.0).abs() < 1e-12);
        let late = (STRESSES[1].rates)(&rates, at);
        let peak = |rates: &[f64]| rates[at..].iter().position(|rate| *rate > 5.0).unwrap();
        assert_eq!(peak(&late), peak(&rates) + 180);
    }
}
