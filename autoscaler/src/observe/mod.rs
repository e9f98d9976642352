//! From metrics pages to facts: scrape engines and routers, keep the last good answer, say how old it is.
//!
//! ```text
//! scrape each period ──▶ Readings { engine → sample | why not, router → models | why not } ──▶ facts of one target
//! ```
//! A single lost scrape is no loss of sight: a reading is used until it is older than three periods.

pub mod facts;
pub mod read;
pub mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use autoscaler_plan::EngineSample;
use engines::Engine;
use engines::exposition;
use engines::metrics::EngineMetrics;
use engines::scrape::Scraper;
use futures::StreamExt as _;
use jiff::Timestamp;

use read::RouterModel;

/// Scrapes under way at once: 50 pages of 75 KB each are a moment's memory of 4 MB, and enough for any period.
const CONCURRENT_SCRAPES: usize = 50;

/// The last good answer of one target and what went wrong since.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<T> {
    /// When the last good answer came, and what it said.
    pub good: Option<(Timestamp, T)>,
    /// Why the newest scrape failed; `None` when it was good.
    pub failure: Option<String>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { good: None, failure: None }
    }
}

/// What a router replica says, by served name.
pub type RouterPage = BTreeMap<String, RouterModel>;

/// The last reading of every engine and router.
#[derive(Debug, Default)]
pub struct Readings {
    // Held for a map insert or a clone, never across an await.
    engines: Mutex<BTreeMap<String, Reading<EngineSample>>>,
    routers: Mutex<BTreeMap<String, Reading<RouterPage>>>,
}

impl Readings {
    /// Scrapes all Ready engines once. Draining and starting ones are not asked: what they say changes no decision.
    pub async fn scrape_engines(&self, scraper: &Scraper, list: &[Engine], clock: fn() -> Timestamp) {
        let ready: Vec<&Engine> = list.iter().filter(|engine| engine.state == engines::EngineState::Ready).collect();
        let answers = scrape_all(
            scraper,
            &ready,
            |text, at| read::engine_sample(&EngineMetrics::from_exposition(&exposition::parse(text)), at),
            clock,
        )
        .await;
        store(&self.engines, list, answers);
    }

    /// Scrapes all router replicas once.
    pub async fn scrape_routers(&self, scraper: &Scraper, list: &[Engine], clock: fn() -> Timestamp) {
        let all: Vec<&Engine> = list.iter().collect();
        let answers = scrape_all(scraper, &all, |text, _| read::router_page(&exposition::parse(text)), clock).await;
        store(&self.routers, list, answers);
    }

    /// The reading of one engine.
    #[must_use]
    pub fn engine(&self, id: &str) -> Reading<EngineSample> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    /// The reading of one router replica.
    #[must_use]
    pub fn router(&self, id: &str) -> Reading<RouterPage> {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    /// Puts a reading as if it had been scraped.
    #[cfg(test)]
    pub(crate) fn put_engine(&self, id: &str, sample: EngineSample) {
        let reading = Reading { good: Some((sample.at, sample)), failure: None };
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), reading);
    }

    /// Puts a router's page as if it had been scraped.
    #[cfg(test)]
    pub(crate) fn put_router(&self, id: &str, at: Timestamp, page: RouterPage) {
        let reading = Reading { good: Some((at, page)), failure: None };
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), reading);
    }

    /// Forgets everything: a new leader starts from what it sees itself.
    pub fn clear(&self) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

type Answer<T> = (String, Result<(Timestamp, T), String>);

async fn scrape_all<T>(
    scraper: &Scraper,
    targets: &[&Engine],
    parse: impl Fn(&str, Timestamp) -> T,
    clock: fn() -> Timestamp,
) -> Vec<Answer<T>> {
    // Collected first: a lazy iterator over borrowed targets inside the stream is not `Send` for every lifetime.
    let requests: Vec<_> = targets
        .iter()
        .map(|target| {
            let (scraper, url, id) = (scraper.clone(), format!("{}/metrics", target.url), target.id.clone());
            async move {
                let text = scraper.text(&url).await;
                (id, text, clock())
            }
        })
        .collect();
    let answers: Vec<_> = futures::stream::iter(requests).buffer_unordered(CONCURRENT_SCRAPES).collect().await;
    answers
        .into_iter()
        .map(|(id, text, at)| match text {
            Ok(text) => (id, Ok((at, parse(&text, at)))),
            Err(error) => (id, Err(describe(&error))),
        })
        .collect()
}

fn store<T>(readings: &Mutex<BTreeMap<String, Reading<T>>>, list: &[Engine], answers: Vec<Answer<T>>) {
    let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
    let known: BTreeSet<&str> = list.iter().map(|target| target.id.as_str()).collect();
    readings.retain(|id, _| known.contains(id.as_str()));
    for (id, answer) in answers {
        let reading = readings.entry(id).or_default();
        match answer {
            Ok(good) => *reading = Reading { good: Some(good), failure: None },
            Err(failure) => reading.failure = Some(failure),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
