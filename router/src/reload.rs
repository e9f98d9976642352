//! Follows the configuration file while the router runs.

use std::sync::Arc;

use process::config::{ConfigText, follow as follow_file};

use crate::args::Args;
use crate::config::{FileConfig, Tunables};
use crate::shared::Shared;

/// Applies the reloadable part of the file when it changes, until the end; a file that cannot be used changes nothing.
pub async fn follow(shared: Arc<Shared>, args: Args, used: ConfigText) {
    let stop = shared.shutdown.give_up().clone();
    follow_file(used, stop, |read| match read.map_err(Into::into).and_then(|text| tunables(&args, &text)) {
        Ok(tunables) => {
            shared.metrics.config_good.set(1);
            tracing::info!("configuration file applied");
            shared.tunables.store(Arc::new(tunables));
            shared.wake_waiting();
        }
        Err(error) => {
            shared.metrics.config_good.set(0);
            tracing::warn!(error = %format!("{error:#}"), "the configuration file cannot be used, the last good one stays");
        }
    })
    .await;
}

fn tunables(args: &Args, text: &ConfigText) -> anyhow::Result<Tunables> {
    let file: FileConfig = text.parse()?;
    Ok(args.over(file).tunables()?)
}
