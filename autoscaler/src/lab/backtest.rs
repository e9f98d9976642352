//! `autoscaler backtest`: ours on the history of a running system, against what was ordered.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use autoscaler_lab::experiment::{self, Tuning};
use autoscaler_lab::policies::{self, Choice, OURS, Orders};
use autoscaler_lab::saving::saving;
use autoscaler_lab::trace::{Trace, load_points};
use autoscaler_lab::{Progress, output};
use clap::Args;

use super::args::{ExperimentArgs, TraceArgs};
use super::fetch::{History, fetch};
use super::output::{DecisionFile, write};
use super::simulate::Form;

/// What a running system had ordered.
#[derive(Debug, Clone, Args)]
pub struct ReplicasArgs {
    /// Replicas that were ordered over time: `ts,value`, or a saved answer of api/v1/query_range
    #[arg(long, value_name = "FILE", conflicts_with = "replicas_query", help_heading = "Load")]
    pub replicas: Option<PathBuf>,
    /// PromQL of the replicas that were ordered, e.g. `kube_deployment_spec_replicas{deployment="m"}`
    #[arg(long, value_name = "PROMQL", requires = "prometheus_url", help_heading = "Load")]
    pub replicas_query: Option<String>,
}

impl ReplicasArgs {
    /// The load's history with what was ordered, when it comes from a Prometheus.
    pub(super) async fn fetch(&self, source: &TraceArgs) -> anyhow::Result<Option<History>> {
        let Some(mut history) = source.fetch().await? else { return Ok(None) };
        if let (Some(url), Some(query)) = (&source.prometheus_url, &self.replicas_query) {
            history.replicas = Some(fetch(url, query, source.history, source.history_step).await?);
        }
        Ok(Some(history))
    }

    /// What was ordered, as a policy that does it again; `None` when nothing says so.
    pub(super) fn load(&self, history: Option<&History>, trace: &Trace) -> anyhow::Result<Option<Choice>> {
        let points = match (&self.replicas, history.and_then(|history| history.replicas.as_ref())) {
            (Some(path), _) => load_points(path)?,
            (None, Some(series)) => {
                let mut points: Vec<(f64, f64)> = series.iter().flatten().copied().collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                points
            }
            (None, None) => return Ok(None),
        };
        let begin = trace.origin_seconds();
        let changes: Vec<(f64, u32)> = points
            .iter()
            .filter(|(_, replicas)| replicas.is_finite() && (0.0..1e6).contains(replicas))
            .map(|(seconds, replicas)| (seconds - begin, replicas.round() as u32))
            .collect();
        let overlaps = changes.first().is_some_and(|(first, _)| *first < trace.duration_seconds())
            && changes.last().is_some_and(|(last, _)| *last >= 0.0);
        if !overlaps {
            bail!("the replicas that were ordered are of another time than the load; take both from the same stretch");
        }
        Ok(Some(Choice::AsRun(Arc::new(Orders { changes }))))
    }
}

/// Play our policy on the history of a running system, against what was in fact ordered.
///
/// Rates are those of the history, not scaled; name the token lengths with --lengths, or capacity is a guess.
#[derive(Debug, Clone, Args)]
pub struct BacktestArgs {
    /// History, engines, objective.
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// What the system had ordered.
    #[command(flatten)]
    pub replicas: ReplicasArgs,
    /// Policies beside what was ordered [default: ours and the optimum]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Experiment")]
    pub policy: Vec<String>,
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

pub(super) fn run(args: &BacktestArgs, history: Option<History>) -> anyhow::Result<()> {
    let trace = args.experiment.trace.load(history.as_ref())?;
    let Some(as_run) = args.replicas.load(history.as_ref(), &trace)? else {
        bail!("nothing says what was ordered: name --replicas, or a --replicas-query beside --prometheus-url");
    };
    let names = if args.policy.is_empty() {
        OURS.iter().map(|own| own.name).chain(["opt"]).map(str::to_owned).collect()
    } else {
        args.policy.clone()
    };
    let mut choices = vec![as_run];
    choices.extend(policies::chosen(&names, OURS)?);
    args.experiment.check_level()?;
    let mut experiment = args.experiment.experiment(None, Tuning::Defaults)?;
    experiment.keeps_steps = args.output == Form::Html;
    let decisions = args.decision_log.as_deref().map(DecisionFile::create).transpose()?;
    experiment.decisions = decisions.as_ref().map(DecisionFile::sink);
    let progress = Progress::on_terminal();
    let results = experiment::run(&experiment, &trace, &choices, &progress);
    progress.finish();
    let results = results?;
    if let Some(decisions) = decisions {
        decisions.finish()?;
    }
    let own: Vec<&str> = OURS.iter().map(|own| own.name).collect();
    let mut text = match args.output {
        Form::Table => output::table(&results),
        Form::Json => output::json_lines(&results)?,
        Form::Html => output::html(&results, &own)?,
        Form::Markdown => output::markdown(&results),
    };
    if matches!(args.output, Form::Table | Form::Markdown) {
        text += &savings(&results);
    }
    write(&text, args.output_file.as_deref())
}

/// What each policy would have saved against what was ordered, a line each.
fn savings(results: &experiment::Results) -> String {
    let first = |name: &str| results.rows.iter().find(|row| row.outcome.policy == name);
    let Some(as_run) = first(policies::AS_RUN) else { return String::new() };
    let summaries = output::summaries(results);
    let mut names: Vec<&str> = summaries.iter().map(|summary| summary.policy).collect();
    names.dedup();
    let lines = names.into_iter().filter(|name| *name != policies::AS_RUN).filter_map(|name| {
        let saving = saving(&first(name)?.days, &as_run.days)?;
        let interval = saving
            .interval
            .map(|i| format!(" (95 % interval {:.0} to {:.0} %)", i.low * 100.0, i.high * 100.0))
            .unwrap_or_default();
        Some(format!("\n{name}: {:.0} % less engine time than what was ordered{interval}\n", saving.share * 100.0))
    });
    lines.collect()
}
