//! The targets themselves as a source: their pages, kept for the length of the longest window.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapter_core::history::{History, Sample, TargetId};
use adapter_core::series::{Labels, Series, Target};
use adapter_core::{ReadyEngine, Rule};
use engines::exposition;
use engines::scrape::{ScrapeError, Scraper};
use futures::StreamExt;
use tokio::time::Instant;

use super::DIRECT;
use crate::config::file::Direct;
use crate::fleet::Fleet;
use crate::metrics::Metrics;

/// Scrapes in flight: a page takes milliseconds, and a timeout holds one place for two seconds.
const CONCURRENT_SCRAPES: usize = 32;

/// Scraped pages and what rules make of them.
#[derive(Debug)]
pub struct DirectSource {
    scraper: Scraper,
    scrape_interval: Duration,
    // Held while a page is taken in or a rule is computed, never across an await.
    history: Mutex<History>,
}

impl DirectSource {
    /// Prepares the source; nothing is sent.
    ///
    /// # Errors
    /// If there is no TLS backend.
    pub fn new(config: &Direct) -> anyhow::Result<Self> {
        let scrape_interval = config.scrape_interval.0;
        Ok(Self {
            scraper: Scraper::new(config.timeout.0)?,
            scrape_interval,
            history: Mutex::new(History::new(&[], scrape_interval)),
        })
    }

    /// Time between two scrapes of a target.
    pub fn scrape_interval(&self) -> Duration {
        self.scrape_interval
    }

    /// Scrapes every target once and returns the engines that should have answered. A target that does not is no error
    /// of the source: it is recorded.
    ///
    /// # Errors
    /// If it is not known which targets there are.
    pub async fn scrape(&self, fleet: &Fleet, rules: &[Rule], metrics: &Metrics) -> Result<Vec<ReadyEngine>, String> {
        let view = fleet.view(process::clock::now())?;
        {
            let mut history = self.history();
            history.want(rules, self.scrape_interval);
            let existing: BTreeSet<TargetId> = view.targets.iter().map(|(id, _)| id.clone()).collect();
            history.keep_only(&existing);
        }
        futures::stream::iter(&view.targets)
            .for_each_concurrent(CONCURRENT_SCRAPES, |(id, url)| self.scrape_one(id, url, metrics))
            .await;
        Ok(view.ready)
    }

    /// The rule's values out of the last pages, and the targets they come from.
    pub fn evaluate(&self, rule: &Rule) -> (Option<Vec<Series>>, Vec<Target>) {
        let history = self.history();
        (history.evaluate(rule), history.targets())
    }

    async fn scrape_one(&self, id: &TargetId, url: &str, metrics: &Metrics) {
        let started = Instant::now();
        let page = self.scraper.text(url).await;
        metrics.asked(DIRECT, page.as_ref().map_or_else(ScrapeError::reason, |_| "good"), started.elapsed());
        match page {
            Ok(text) => {
                let at = process::clock::now();
                let page = exposition::parse(&text);
                let mut history = self.history();
                let wanted = page.samples.iter().filter(|sample| history.is_wanted(sample.name));
                let samples = wanted.map(owned).collect();
                history.record(id, at, samples);
            }
            Err(error) => {
                tracing::debug!(target = id.name, error = %error, "scrape failed");
                self.history().fail(id);
            }
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned(sample: &exposition::Sample<'_>) -> Sample {
    let labels: Labels =
        sample.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_owned())).collect();
    Sample { name: sample.name.to_owned(), labels, value: sample.value }
}
