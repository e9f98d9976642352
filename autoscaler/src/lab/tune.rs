//! `autoscaler tune`: settings for a running system from its history, and what they save.

use anyhow::Context as _;
use autoscaler_lab::experiment::{self, Tuning};
use autoscaler_lab::policies::{self, Choice, OURS};
use autoscaler_lab::{Progress, advice};
use clap::Args;

use super::args::ExperimentArgs;
use super::backtest::ReplicasArgs;
use super::fetch::History;
use super::output::write;

/// Choose objective and bounds from history, and print the Helm values with the expected saving.
///
/// Plays our policy on the history at several attainments and floors, against what runs now.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct TuneArgs {
    /// History, engines, objective.
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// What the system had ordered.
    #[command(flatten)]
    pub replicas: ReplicasArgs,
    /// What scales the system now, a policy by name at its shipped settings; --replicas and --replicas-query tell it better
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "hpa-queue",
        conflicts_with_all = ["replicas", "replicas_query"],
        help_heading = "Experiment"
    )]
    pub present: String,
}

const EXAMPLES: &str = "\
Examples:
  autoscaler tune --prometheus-url http://prometheus:9090 --query 'sum(rate(vllm:request_success_total[1m]))'
  autoscaler tune --trace rates.csv --replicas replicas.csv --startup 180s --ttft 1s --inter-token-latency 50ms";

pub(super) fn run(args: &TuneArgs, history: Option<History>) -> anyhow::Result<()> {
    let own = OURS.first().copied().context("this program was built without a policy of its own")?;
    let trace = args.experiment.trace.load(history.as_ref())?;
    if let Some(flag) = args.experiment.single_request_flag() {
        anyhow::bail!("{flag} is about single requests, and tune plays none; leave it out");
    }
    let experiment = args.experiment.experiment(None, Tuning::Defaults)?;
    let as_run = args.replicas.load(history.as_ref(), &trace)?;
    let present = match as_run {
        Some(as_run) => as_run,
        None => one(policies::chosen(std::slice::from_ref(&args.present), OURS)?)?,
    };
    let progress = Progress::on_terminal();
    let advice = experiment::prepare(&experiment, &trace, &progress)
        .and_then(|prepared| advice::advise(&experiment, &trace, &prepared, own, &present, &progress));
    progress.finish();
    let objective = (args.experiment.ttft.to_string(), args.experiment.inter_token_latency.to_string());
    write(&advice?.text(&objective.0, &objective.1, args.experiment.max_replicas), None)
}

fn one(chosen: Vec<Choice>) -> anyhow::Result<Choice> {
    let mut chosen = chosen.into_iter();
    match (chosen.next(), chosen.next()) {
        (Some(one), None) => Ok(one),
        _ => anyhow::bail!("--present takes the name of one policy"),
    }
}
