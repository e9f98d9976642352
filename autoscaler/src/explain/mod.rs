//! `autoscaler explain`: why there are as many replicas as there are, in plain words, from wherever the decision is: the
//! status of an object, a standalone host, or a decision log.

mod cluster;
mod log;
mod standalone;

use std::path::PathBuf;

use jiff::Timestamp;

pub use cluster::explain;

/// Put a decision into words: what was forecast, learned, credited and priced, and which term decided.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Name of the EngineAutoscaler; with --standalone, the model [default: all models]
    #[arg(conflicts_with = "log")]
    pub name: Option<String>,
    /// Namespace of the EngineAutoscaler [default: that of the kubeconfig]
    #[arg(long, short, env = "NAMESPACE")]
    pub namespace: Option<String>,
    /// A standalone host: the URL of its page, or its state folder
    #[arg(long, value_name = "URL|FOLDER", conflicts_with = "log")]
    pub standalone: Option<String>,
    /// A decision log: the last decision in it, or that of --at
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The decision that held at this time, such as 2026-11-23T08:30:00Z; from a log or a state folder
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
}

const EXAMPLES: &str = "\
Examples:
  autoscaler explain llama-8b
  autoscaler explain --standalone http://127.0.0.1:8080
  autoscaler explain --standalone ~/.local/state/vllm-prod-stack llama-8b --at 2026-11-23T08:30:00Z
  autoscaler explain --log decisions/llama-8b.jsonl --at 2026-11-23T08:30:00Z";

/// Prints the explanation.
///
/// # Errors
/// If there is no such cluster, object, host, model or decision; the message says what to do.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let text = match &args {
        ExplainArgs { log: Some(file), at, .. } => log::explain_file(file, *at)?,
        ExplainArgs { standalone: Some(host), name, at, .. } => {
            standalone::explain_host(host, name.as_deref(), *at).await?
        }
        ExplainArgs { at: Some(_), .. } => {
            anyhow::bail!(
                "--at needs a log: a status holds the last decision only; see `decisionLog` of the controller"
            )
        }
        ExplainArgs { name: Some(name), namespace, .. } => cluster::explain_object(name, namespace.as_deref()).await?,
        ExplainArgs { name: None, .. } => {
            anyhow::bail!("name an EngineAutoscaler, a host with --standalone, or a decision log with --log")
        }
    };
    print!("{text}");
    Ok(())
}

/// A share as it was written: 99.9, without the digits that a float adds.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// Reasons and terms, each in lines of their own.
fn write_terms<'a>(
    text: &mut String,
    because: impl Iterator<Item = (&'a str, &'a str)>,
    terms: impl Iterator<Item = (&'a str, &'a str)>,
) {
    text.push_str("Because:\n");
    for (reason, message) in because {
        text.push_str(&format!("  {reason}: {message}\n"));
    }
    let mut terms = terms.peekable();
    if terms.peek().is_some() {
        text.push_str("It rests on:\n");
    }
    for (term, words) in terms {
        text.push_str(&format!("  {term:<9} {words}\n"));
    }
}

#[cfg(test)]
mod tests;
