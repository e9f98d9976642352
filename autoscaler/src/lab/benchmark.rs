//! `autoscaler benchmark`: every trace of a folder, as tables for documentation.

use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use autoscaler_api::Percent;
use autoscaler_lab::Progress;
use autoscaler_lab::benchmark::{Benchmark, Follower, Report, Table, run as run_benchmark};
use autoscaler_lab::experiment::Tuning;
use autoscaler_lab::policies::{self, OURS};
use autoscaler_lab::trace::Format;
use clap::Args;
use tokio::time::Instant;

use super::args::{ExperimentArgs, mean_replicas};
use super::output::{tell, write};

/// Run the whole benchmark over a folder of traces and print its tables as markdown, the bars first.
///
/// Every file and ServeGen folder in it whose format its first line tells is a trace. Each is played at level fluid with
/// baselines tuned in hindsight and on the first half, at every attainment; then, at the first attainment, with both queues
/// and at level events by ours and the best of those. llm-d's published ramp, and stress, friction, sensitivity and ablations
/// on one recurring trace complete it.
#[derive(Debug, Clone, Args)]
pub struct BenchmarkArgs {
    /// Folder with traces
    #[arg(long, value_name = "FOLDER")]
    pub traces: PathBuf,
    /// Attainments, with commas between; the first is also played request by request
    #[arg(long, value_name = "PERCENTS", value_delimiter = ',', default_value = "99%,99.9%")]
    pub attainments: Vec<Percent>,
    /// Mean demand that every trace is scaled to, in replicas
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "8", value_parser = mean_replicas)]
    pub mean_replicas: f64,
    /// Policies to compare, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub policy: Vec<String>,
    /// Policies besides ours that are also played request by request: the cheapest so many on target
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 2)]
    pub finalists: usize,
    /// Which tables, with commas between
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_values = Table::NAMES.map(|(name, _)| name)
    )]
    pub tables: Vec<String>,
    /// Write all into this folder instead, as it comes: tables.md, runs.jsonl (one run a line, the fields of `simulate
    /// --output json`), and a page with plots for each trace
    #[arg(long, value_name = "FOLDER", conflicts_with = "output_file")]
    pub output_folder: Option<PathBuf>,
    /// Write the tables to this file instead of stdout, as they come
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Engines and experiment; its --trace, --attainment, --level and --queue are not used.
    #[command(flatten)]
    pub experiment: ExperimentArgs,
}

pub(super) fn run(args: &BenchmarkArgs) -> anyhow::Result<()> {
    let mut traces = Vec::new();
    let entries = std::fs::read_dir(&args.traces).with_context(|| format!("read {}", args.traces.display()))?;
    for entry in entries {
        let path = entry?.path();
        if let Some(format) = Format::of(&path)? {
            traces.push((path, format));
        }
    }
    traces.sort();
    if traces.is_empty() {
        bail!("{} has no trace in it", args.traces.display());
    }
    let benchmark = Benchmark {
        experiment: args.experiment.experiment(Some(args.mean_replicas), Tuning::Defaults)?,
        attainments: args.attainments.iter().map(|percent| percent.as_share()).collect(),
        policies: policies::chosen(&args.policy, OURS)?,
        finalists: args.finalists,
        tables: args.tables.iter().map(|name| Table::from_str(name)).collect::<Result<_, _>>()?,
        makes_pages: args.output_folder.is_some(),
    };
    let lengths = args.experiment.trace.lengths()?;
    let progress = Progress::on_terminal();
    let mut keeper = Keeper { args, began: Instant::now(), tables: String::new(), pages: 0, wrote: Ok(()) };
    if let Some(folder) = &args.output_folder {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let ran = run_benchmark(&benchmark, &traces, &lengths, &progress, &mut keeper);
    progress.finish();
    keeper.wrote?;
    if args.output_folder.is_none() && args.output_file.is_none() {
        write(&keeper.tables, None)?;
    }
    Ok(ran?)
}

/// Writes the report as it grows: what a benchmark found before it was stopped is not lost.
struct Keeper<'a> {
    args: &'a BenchmarkArgs,
    began: Instant,
    tables: String,
    pages: usize,
    wrote: anyhow::Result<()>,
}

impl Keeper<'_> {
    fn write(&mut self, report: &Report) -> anyhow::Result<()> {
        self.tables = format!("{}{}", report.bars, report.markdown);
        if let Some(file) = &self.args.output_file {
            write(&self.tables, Some(file))?;
        }
        let Some(folder) = &self.args.output_folder else { return Ok(()) };
        write(&self.tables, Some(&folder.join("tables.md")))?;
        write(&report.json_lines, Some(&folder.join("runs.jsonl")))?;
        for (name, page) in report.pages.iter().skip(self.pages) {
            write(page, Some(&folder.join(format!("{name}.html"))))?;
        }
        self.pages = report.pages.len();
        Ok(())
    }
}

impl Follower for Keeper<'_> {
    fn begins(&mut self, part: &str) {
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        tell(&format!("{part}, after {minutes:.1} min"));
    }

    fn has(&mut self, report: &Report) {
        if self.wrote.is_ok() {
            self.wrote = self.write(report);
        }
    }
}
