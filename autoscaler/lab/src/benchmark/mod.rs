//! The whole benchmark by one command: tables for documentation, every run as a line of JSON, a page with plots a trace.
//!
//! ```text
//! traces       every trace of a folder: tuned in hindsight and on its first half, fluid and request by request ─▶ bars
//! ramp         llm-d's published ramp, cold
//! stress       what goes wrong, on one recurring trace: recovery and worst hour
//! friction     request by request on the same trace: engines, metrics and clients that fall short of the ideal
//! sensitivity  mean demand and start-up time, on the same trace
//! ablations    ours without its parts, and with a wrong idea of its engines
//! ```

mod bars;
mod friction;
mod parts;
mod ramp;
mod stress;
mod traces;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use autoscaler_sim::{Discipline, Level};

use crate::error::LabError;
use crate::experiment::{Experiment, Results, Tuning};
use crate::parallel;
use crate::policies::Choice;
use crate::progress::Progress;
use crate::recurring::{day_autocorrelation, is_recurring};
use crate::trace::{Format, Lengths, Trace};

const DAY: f64 = 86_400.0;

/// What is run.
#[derive(Clone)]
pub struct Benchmark {
    /// Engine, start-up time, seeds; levels, queues, tuning and attainment are the benchmark's own.
    pub experiment: Experiment,
    /// Attainments, 0 to 1; the first is also played first come, first served, and request by request.
    pub attainments: Vec<f64>,
    /// Policies.
    pub policies: Vec<Choice>,
    /// Baselines that are also played request by request, besides ours and the optimum.
    pub finalists: usize,
    /// Which tables.
    pub tables: Vec<Table>,
    /// Whether to make a page with plots for each trace.
    pub makes_pages: bool,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Every trace, and the bars.
    Traces,
    /// llm-d's ramp.
    Ramp,
    /// What goes wrong.
    Stress,
    /// Engines, metrics and clients that fall short of the ideal.
    Friction,
    /// Mean demand and start-up time.
    Sensitivity,
    /// Ours without its parts.
    Ablations,
}

impl Table {
    /// All, with the names that flags know them by.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("traces", Self::Traces),
        ("ramp", Self::Ramp),
        ("stress", Self::Stress),
        ("friction", Self::Friction),
        ("sensitivity", Self::Sensitivity),
        ("ablations", Self::Ablations),
    ];
}

/// A name that is not a table.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a table; use {names}", names = Table::NAMES.map(|(name, _)| name).join(", "))]
pub struct UnknownTable(String);

impl FromStr for Table {
    type Err = UnknownTable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, table)| *table);
        known.ok_or_else(|| UnknownTable(text.to_owned()))
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What ours must reach, and whether it did.
    pub bars: String,
    /// Tables.
    pub markdown: String,
    /// One run a line.
    pub json_lines: String,
    /// A page with plots for each trace: its name and the page.
    pub pages: Vec<(String, String)>,
}

/// Who follows a benchmark while it runs.
pub trait Follower {
    /// This part begins.
    fn begins(&mut self, part: &str);
    /// A part has ended: all that there is so far, so that nothing is lost if the rest never ends.
    fn has(&mut self, report: &Report);
}

/// Runs it, and hands the report to `follower` as it grows.
///
/// # Errors
/// If a trace cannot be used.
pub fn run(
    benchmark: &Benchmark,
    traces: &[(PathBuf, Format)],
    lengths: &Lengths,
    progress: &Progress,
    follower: &mut dyn Follower,
) -> Result<(), LabError> {
    let mut report = Report::default();
    let mut bars = bars::Bars::default();
    if benchmark.tables.contains(&Table::Ramp) {
        follower.begins("llm-d's ramp");
        ramp::run(benchmark, progress, &mut report, &mut bars)?;
        report.bars = bars.markdown();
        follower.has(&report);
    }
    if benchmark.tables.contains(&Table::Traces) {
        traces::run(benchmark, traces, lengths, progress, &mut report, &mut bars, follower)?;
    }
    let on_one = [Table::Stress, Table::Friction, Table::Sensitivity, Table::Ablations];
    let is_asked_for = |table: &Table| benchmark.tables.contains(table);
    if on_one.iter().any(is_asked_for) {
        match middling(benchmark, traces, lengths)? {
            Some(trace) => {
                follower.begins(&format!("stress, friction, sensitivity, ablations on {}", trace.name()));
                for table in on_one.iter().filter(|table| is_asked_for(table)) {
                    match table {
                        Table::Stress => stress::play(benchmark, &trace, lengths, progress, &mut report)?,
                        Table::Friction => friction::play(benchmark, &trace, progress, &mut report)?,
                        Table::Sensitivity => parts::sensitivity(benchmark, &trace, progress, &mut report)?,
                        Table::Ablations => parts::ablations(benchmark, &trace, progress, &mut report)?,
                        Table::Traces | Table::Ramp => {}
                    }
                    follower.has(&report);
                }
            }
            None => {
                report.markdown += "No trace recurs: no stress, friction, sensitivity and ablations.\n";
                follower.has(&report);
            }
        }
    }
    Ok(())
}

impl Benchmark {
    /// What the tables on one trace have in common: the first attainment and seed, fluid, deadline, tuned in hindsight, and one
    /// thread, for they are played [side by side](Self::side_by_side).
    fn on_one_trace(&self) -> Experiment {
        Experiment {
            attainment: self.attainments.first().copied().unwrap_or(0.99),
            queues: vec![Discipline::Deadline],
            levels: vec![Level::Fluid],
            tuning: Tuning::Hindsight,
            seeds: self.experiment.seeds.iter().take(1).copied().collect(),
            keeps_steps: false,
            threads: NonZeroUsize::MIN,
            ..self.experiment.clone()
        }
    }

    /// Plays `count` experiments side by side, each on one thread: one alone would leave the others idle for most of its time.
    fn side_by_side(
        &self,
        what: &str,
        count: usize,
        progress: &Progress,
        play: impl Fn(usize, &Progress) -> Result<Results, LabError> + Sync,
    ) -> Result<Vec<Results>, LabError> {
        progress.stage(what, count);
        let within = Progress::hidden();
        let played = parallel::map(self.experiment.threads, count, |place| {
            let played = play(place, &within);
            progress.done(1);
            played
        });
        played.into_iter().collect()
    }

    /// Ours, and those of the named baselines that are among the policies.
    fn ours_and(&self, rivals: &[&str]) -> Vec<Choice> {
        let is_meant = |policy: &&Choice| policy.is_own() || rivals.contains(&policy.name());
        self.policies.iter().filter(is_meant).cloned().collect()
    }
}

/// Begin of a whole day in the middle of what is scored, in seconds since the start of the trace.
fn middle_day(train_seconds: f64, duration_seconds: f64) -> f64 {
    (f64::midpoint(train_seconds, duration_seconds) / DAY).floor() * DAY
}

/// Of the traces that recur, the middle one by how much they do (the lower of two), by a rule that knows no names.
fn middling(benchmark: &Benchmark, traces: &[(PathBuf, Format)], lengths: &Lengths) -> Result<Option<Trace>, LabError> {
    let mut recurring: Vec<(f64, Trace)> = Vec::new();
    for (path, format) in traces {
        let trace = Trace::load(path, *format, lengths)?;
        if is_recurring(&trace, benchmark.experiment.train_seconds) {
            recurring.extend(day_autocorrelation(&trace).map(|correlation| (correlation, trace)));
        }
    }
    recurring.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = recurring.len().saturating_sub(1) / 2;
    Ok(recurring.into_iter().nth(middle).map(|(_, trace)| trace))
}
