//! `adapter explain METRIC -n NAMESPACE -l SELECTOR`: what an HPA would read from a running adapter, and why.

use std::io::Write;
use std::time::Duration;

use crate::debug::{AnswerReport, RuleReport};

/// What to explain.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// Metric name as it stands in the HPA
    pub metric: String,
    /// Namespace of the HPA
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Label selector of the HPA's metric, such as model=llama-8b
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// Admin address of the adapter; in a cluster: kubectl port-forward deploy/RELEASE-adapter 9100
    #[arg(long, default_value = "http://127.0.0.1:9100", env = "ADAPTER_ADMIN")]
    pub admin: String,
}

/// Asks the adapter and prints its answer; true if an HPA would read a value.
///
/// # Errors
/// If the adapter cannot be asked, knows no such metric, or the output is closed.
pub async fn explain(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut url = reqwest::Url::parse(&args.admin)
        .map_err(|error| anyhow::anyhow!("--admin {}: {error}; write http://HOST:PORT", args.admin))?
        .join("/debug/metrics")?;
    url.query_pairs_mut()
        .append_pair("metric", &args.metric)
        .append_pair("namespace", &args.namespace)
        .append_pair("selector", &args.selector);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let answer = client.get(url).send().await.map_err(|error| {
        anyhow::anyhow!("no adapter answers at {} ({error}); give its admin address with --admin", args.admin)
    })?;
    if !answer.status().is_success() {
        anyhow::bail!("{}", answer.text().await?.trim());
    }
    let reports: Vec<RuleReport> = answer.json().await?;
    let mut has_value = false;
    for report in &reports {
        print(report, out)?;
        has_value |= report.answer.as_ref().is_some_and(|answer| answer.error.is_none());
    }
    Ok(has_value)
}

fn print(report: &RuleReport, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}", report.rule)?;
    if let Some(answer) = &report.answer {
        print_answer(answer, out)?;
    }
    match (&report.source, report.collected_seconds_ago) {
        (Some(source), Some(age)) => writeln!(out, "  last good collection: {age:.1} s ago from {source}")?,
        _ => writeln!(out, "  last good collection: none since the start")?,
    }
    if let Some(failure) = &report.failure {
        writeln!(out, "  the last collection failed: {failure}")?;
    }
    writeln!(out, "  values answer for at most {:.0} s", report.max_age_seconds)?;
    writeln!(out, "  query:")?;
    for line in report.promql.lines() {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn print_answer(answer: &AnswerReport, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(error) = &answer.error {
        return writeln!(out, "  HPA reads an error: {error}");
    }
    let sum: f64 = answer.items.iter().map(|item| item.value).sum();
    writeln!(out, "  HPA reads {sum} ({} values)", answer.items.len())?;
    for item in &answer.items {
        let labels: Vec<String> = item.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let policy = if item.is_zero_by_policy { ", zero because nothing was observed" } else { "" };
        writeln!(out, "    {} = {}, {:.1} s old{policy}", labels.join(","), item.value, item.age_seconds)?;
        if let Some(problem) = &item.problem {
            writeln!(out, "      last good value: {problem}")?;
        }
    }
    Ok(())
}
