//! The configuration file, read again when it changes: checked first, swapped then, the last good one kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::config::file::ConfigFile;
use crate::metrics::{Metrics, ReloadLabel};
use crate::serve::Api;

/// A mounted ConfigMap changes by a swapped symlink, a minute after it was applied; polling needs no watch on either.
const POLL: Duration = Duration::from_secs(2);

/// Reads a configuration file; no path means all defaults.
///
/// # Errors
/// What is wrong, with file, place and fix.
pub fn load(path: Option<&PathBuf>) -> anyhow::Result<Config> {
    let file: ConfigFile = match path {
        Some(path) => process::config::load(path)?,
        None => ConfigFile::default(),
    };
    let shown = path.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
    Config::new(file, std::env::var("POD_NAMESPACE").ok()).map_err(|problem| anyhow::anyhow!("{shown}: {problem}"))
}

/// Makes the rules of a configuration the ones that are collected and served.
pub fn apply(config: &Config, api: &Api, metrics: &Metrics) {
    api.store.replace_rules(&config.rules);
    let names: Vec<&str> = config.rules.iter().map(|rule| rule.name.as_str()).collect();
    api.documents.replace(&names);
    metrics.rejected_rules.set(i64::try_from(config.rejected.len()).unwrap_or(i64::MAX));
    for problem in &config.rejected {
        tracing::error!(problem = %problem, "a rule is not served");
    }
}

/// Follows the file, for ever. `seen` is what it held just before it was first loaded, so that a change made while the
/// program starts is not taken for what is served already.
pub async fn follow(
    path: PathBuf,
    mut seen: Option<Vec<u8>>,
    current: watch::Sender<Arc<Config>>,
    api: Arc<Api>,
    metrics: Metrics,
) {
    loop {
        tokio::time::sleep(POLL).await;
        let content = tokio::fs::read(&path).await.ok();
        if content == seen {
            continue;
        }
        seen = content;
        match load(Some(&path)) {
            Err(error) => {
                metrics.reloads.get_or_create(&ReloadLabel { outcome: "refused" }).inc();
                tracing::error!(error = format!("{error:#}"), "the configuration stays as it was");
            }
            Ok(fresh) => {
                metrics.reloads.get_or_create(&ReloadLabel { outcome: "applied" }).inc();
                let needs_restart = needs_restart(&current.borrow().file, &fresh.file);
                if !needs_restart.is_empty() {
                    tracing::warn!(sections = needs_restart.join(", "), "changes in these sections need a restart");
                }
                apply(&fresh, &api, &metrics);
                tracing::info!(rules = fresh.rules.len(), rejected = fresh.rejected.len(), "configuration reloaded");
                current.send_replace(Arc::new(fresh));
            }
        }
    }
}

fn needs_restart(before: &ConfigFile, after: &ConfigFile) -> Vec<&'static str> {
    let mut sections = Vec::new();
    for (name, differs) in [
        ("process", before.process != after.process),
        ("server", before.server != after.server),
        ("prometheus", before.prometheus != after.prometheus),
        ("direct", before.direct != after.direct),
        ("sources", before.sources != after.sources),
    ] {
        if differs {
            sections.push(name);
        }
    }
    sections
}
