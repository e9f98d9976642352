//! Follows the configuration file while the router runs.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::args::Args;
use crate::config::{FileConfig, Tunables};
use crate::shared::Shared;

/// How often the file is looked at; a mounted ConfigMap takes a minute to change anyway.
const INTERVAL: Duration = Duration::from_secs(1);

/// Applies the reloadable part of the file when it changes; a file that cannot be used changes nothing.
pub async fn follow(shared: Arc<Shared>, args: Args, path: PathBuf) -> Result<(), Infallible> {
    // The first look applies the file once more: it may have changed between the start and here.
    let mut seen = None;
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let now = stamp(&path);
        if now == seen {
            continue;
        }
        seen = now;
        match read(&args, &path) {
            Ok(tunables) => {
                shared.metrics.config_good.set(1);
                tracing::info!(path = %path.display(), "configuration file applied");
                shared.tunables.store(Arc::new(tunables));
                shared.wake_waiting();
            }
            Err(error) => {
                shared.metrics.config_good.set(0);
                tracing::warn!(error = %format!("{error:#}"), "the configuration file cannot be used, the last good one stays");
            }
        }
    }
}

fn read(args: &Args, path: &Path) -> anyhow::Result<Tunables> {
    let file: FileConfig = process::config::load(path)?;
    Ok(args.over(file).tunables()?)
}

fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}
