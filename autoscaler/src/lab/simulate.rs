//! `autoscaler simulate`: policies side by side on a trace.

use std::path::PathBuf;

use autoscaler_lab::experiment::{self, Tuning};
use autoscaler_lab::policies::{self, OURS};
use autoscaler_lab::{Progress, output};
use clap::{Args, ValueEnum};

use super::args::{ExperimentArgs, mean_replicas, profile_list};
use super::fetch::History;
use super::output::{DecisionFile, tell, write};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A table of medians over the seeds.
    Table,
    /// One JSON object a line, one line a run.
    Json,
    /// A report with plots in one file.
    Html,
    /// A markdown table.
    Markdown,
}

/// Play scaling policies against a trace and compare cost and misses.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// Load, engines, objective.
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Scale the trace's rates until its mean demand is so many replicas; `recorded` leaves them
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "8", help_heading = "Load")]
    pub mean_replicas: String,
    /// Policies, with commas between; `all`, or `list` to name them with their sources
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all", help_heading = "Experiment")]
    pub policy: Vec<String>,
    /// Policies to compare with at the cheapest of at most fifty settings that keeps the attainment on the first half of
    /// the scored time; all are then scored on the second half
    #[arg(long, conflicts_with = "hindsight", help_heading = "Experiment")]
    pub tuned: bool,
    /// Policies to compare with at the cheapest setting that keeps the attainment on all of the scored time
    #[arg(long, help_heading = "Experiment")]
    pub hindsight: bool,
    /// How results are written
    #[arg(long, value_name = "FORM", value_enum, default_value = "table", help_heading = "Output")]
    pub output: Form,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output_file: Option<PathBuf>,
    /// Log what each decision of ours was made on (level fluid, first queue, first seed), for `explain --log`; some
    /// kilobytes a decision
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub decision_log: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  autoscaler simulate --policy list
  autoscaler simulate --trace load.csv --format series --startup 240s --attainment 99% --hindsight
  autoscaler simulate --trace load.csv --output html --output-file report.html
Baselines are as shipped unless --tuned or --hindsight is given; ours get the objective and nothing else.";

pub(super) fn run(args: &SimulateArgs, history: Option<History>) -> anyhow::Result<()> {
    let file = args.output_file.as_deref();
    if args.policy.iter().any(|name| name == "list") {
        return write(&output::policy_list(&policies::all(OURS)), file);
    }
    if args.experiment.engine_profile == "list" {
        return write(&profile_list(), file);
    }
    let chosen = policies::chosen(&args.policy, OURS)?;
    let mean = match args.mean_replicas.as_str() {
        "recorded" => None,
        text => Some(mean_replicas(text).map_err(|error| anyhow::anyhow!("--mean-replicas: {error}"))?),
    };
    let tuning = match (args.tuned, args.hindsight) {
        (true, _) => Tuning::Tuned,
        (_, true) => Tuning::Hindsight,
        _ => Tuning::Defaults,
    };
    args.experiment.check_level()?;
    let mut experiment = args.experiment.experiment(mean, tuning)?;
    experiment.keeps_steps = args.output == Form::Html;
    let decisions = args.decision_log.as_deref().map(DecisionFile::create).transpose()?;
    experiment.decisions = decisions.as_ref().map(DecisionFile::sink);
    let trace = args.experiment.trace.load(history.as_ref())?;
    let progress = Progress::on_terminal();
    let results = experiment::run(&experiment, &trace, &chosen, &progress);
    progress.finish();
    let results = results?;
    if let Some(decisions) = decisions {
        decisions.finish()?;
    }
    let own: Vec<&str> = OURS.iter().map(|own| own.name).collect();
    let text = match args.output {
        Form::Table => output::table(&results),
        Form::Json => output::json_lines(&results)?,
        Form::Html => output::html(&results, &own)?,
        Form::Markdown => output::markdown(&results),
    };
    if args.output == Form::Json {
        results.notes.iter().for_each(|note| tell(note));
    }
    write(&text, file)
}
