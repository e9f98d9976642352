//! `adapter check FILE`: everything that can be known about a configuration without running it.

use std::io::Write;
use std::path::Path;

use crate::config::Config;
use crate::config::file::ConfigFile;

/// Prints what the file means, or what is wrong with it; true if nothing is.
///
/// # Errors
/// If the file cannot be read or used at all, or the output is closed.
pub fn check(path: &Path, out: &mut impl Write) -> anyhow::Result<bool> {
    let file: ConfigFile = process::config::load(path)?;
    let namespace = std::env::var("POD_NAMESPACE").ok().or_else(|| Some("NAMESPACE".to_owned()));
    let config = Config::new(file, namespace).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
    let source = if config.primary_is_prometheus() { "prometheus" } else { "direct" };
    writeln!(out, "source: {source}, backup: {}", config.file.sources.backup)?;
    for rule in &config.rules {
        writeln!(out, "\nrule {}: every {:?}, at most {:?} old", rule.name, rule.interval, rule.max_age)?;
        for line in rule.promql().lines() {
            writeln!(out, "    {line}")?;
        }
    }
    let only_promql = config.rules.iter().filter(|rule| !rule.is_measurable() && source == "direct");
    let mut is_good = config.rejected.is_empty();
    for rule in only_promql {
        is_good = false;
        writeln!(out, "\nerror: rule {}: `promql` needs `prometheus.url`; use `measure`, or set it", rule.name)?;
    }
    for problem in &config.rejected {
        writeln!(out, "\nerror: {problem}")?;
    }
    writeln!(out, "\n{} rules, {} errors", config.rules.len(), config.rejected.len())?;
    Ok(is_good)
}
