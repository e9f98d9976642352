//! The configuration file, read again when it changes: checked first, swapped then, the last good one kept.

use std::sync::Arc;

use process::config::{ConfigError, ConfigText};
use tokio::sync::watch;

use crate::config::Config;
use crate::config::file::ConfigFile;
use crate::metrics::{Metrics, ReloadLabel};
use crate::serve::Api;

/// What a configuration file means; no file means all defaults.
///
/// # Errors
/// What is wrong, with file, place and fix.
pub fn config(text: Option<&ConfigText>) -> anyhow::Result<Config> {
    let file = text.map_or_else(|| Ok(ConfigFile::default()), ConfigText::parse)?;
    let shown = text.map_or_else(|| "configuration".to_owned(), |text| text.path().display().to_string());
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

/// What to do with each new text of the file.
pub fn take(
    current: watch::Sender<Arc<Config>>,
    api: Arc<Api>,
    metrics: Metrics,
) -> impl FnMut(Result<ConfigText, ConfigError>) + Send {
    move |read| match read.map_err(Into::into).and_then(|text| config(Some(&text))) {
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
