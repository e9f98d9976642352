//! Collection on its own clock: sources are asked, the store is filled. No request ever waits for this.
//!
//! Rules with the same interval form a round. With Prometheus a round asks one query per rule, and one that tells which
//! targets were scraped; directly, a round follows each scrape of all targets and asks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter_core::{Failure, Observation, ReadyEngine};
use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub mod direct;
pub mod upstream;

use self::direct::DirectSource;
use self::upstream::{PrometheusSource, Scraped};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::store::{Slot, Store};

/// Name of the source that asks Prometheus, in metrics and messages.
pub const PROMETHEUS: &str = "prometheus";
/// Name of the source that reads the targets themselves.
pub const DIRECT: &str = "direct";
/// Queries in flight to one Prometheus: few enough not to disturb it, enough that eleven rules take three turns.
const CONCURRENT_QUERIES: usize = 4;

/// Everything that collection needs; shared by its tasks.
#[derive(Debug)]
pub struct Collector {
    /// Where results go.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Metrics,
    /// Which engines there are.
    pub fleet: Fleet,
    /// Prometheus, if it is primary or backup.
    pub prometheus: Option<PrometheusSource>,
    /// The targets themselves, if primary or backup.
    pub direct: Option<DirectSource>,
    /// Which of both is asked first.
    pub is_prometheus_primary: bool,
    /// How often the primary source sees an engine.
    pub scrape_interval: Duration,
    /// Whether the last collection of a rule failed; for the log.
    pub is_failing: AtomicBool,
}

impl Collector {
    /// Collects until `stop`. Rules are looked up again in each round, so a reload needs no restart of this.
    pub async fn run(self: Arc<Self>, config: tokio::sync::watch::Receiver<Arc<Config>>, stop: CancellationToken) {
        let work = async {
            tokio::join!(self.scrape_rounds(), self.query_rounds(config));
        };
        tokio::select! { () = work => {}, () = stop.cancelled() => {} }
    }

    async fn scrape_rounds(&self) {
        let Some(direct) = &self.direct else { return };
        let mut clock = tokio::time::interval(direct.scrape_interval());
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let slots = self.store.slots();
            let rules: Vec<_> = slots.values().map(|slot| slot.rule.clone()).collect();
            let scraped = direct.scrape(&self.fleet, &rules, &self.metrics).await;
            if self.is_prometheus_primary {
                continue;
            }
            for slot in slots.values().filter(|slot| slot.rule.is_measurable() || self.prometheus.is_none()) {
                match &scraped {
                    Err(message) => self.fail(slot, DIRECT, "fleet", message.clone()),
                    Ok(ready) => self.collect_directly(slot, ready),
                }
            }
        }
    }

    /// Values out of the pages that were scraped last.
    fn collect_directly(&self, slot: &Slot, ready: &[ReadyEngine]) {
        let Some(direct) = &self.direct else { return };
        let now = process::clock::now();
        let (Some(series), targets) = direct.evaluate(&slot.rule) else {
            let text = "`promql` rules need prometheus.url; use `measure` to read the targets directly";
            return self.fail(slot, DIRECT, "unsupported", text.to_owned());
        };
        slot.observe(&Observation {
            source: DIRECT,
            at: now,
            series: &series,
            targets: &targets,
            engines: ready,
            scrape_interval: direct.scrape_interval(),
        });
        self.record_success(slot, DIRECT);
    }

    async fn query_rounds(&self, mut config: tokio::sync::watch::Receiver<Arc<Config>>) {
        let Some(prometheus) = &self.prometheus else { return };
        loop {
            config.borrow_and_update();
            let mut rounds: BTreeMap<Duration, Vec<Arc<Slot>>> = BTreeMap::new();
            for slot in self.store.slots().values() {
                rounds.entry(slot.rule.interval).or_default().push(slot.clone());
            }
            if rounds.is_empty() {
                // Without a rule there is nothing to ask until a reload brings one.
                if config.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let all = rounds.iter().map(|(interval, slots)| self.rounds_of(prometheus, *interval, slots));
            let all = futures::future::join_all(all);
            tokio::select! {
                _ = all => return,
                changed = config.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn rounds_of(&self, prometheus: &PrometheusSource, interval: Duration, slots: &[Arc<Slot>]) {
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let asked: Vec<Arc<Slot>> = slots.iter().filter(|slot| self.asks_prometheus(slot)).cloned().collect();
            if !asked.is_empty() {
                self.round(prometheus, &asked).await;
            }
            // Replicas start together and would ask together for ever: each period is up to a tenth longer.
            due = (due + interval.mul_f64(1.0 + 0.1 * jitter())).max(Instant::now());
        }
    }

    /// As the primary source always; as backup only for what direct scraping cannot or could not answer.
    fn asks_prometheus(&self, slot: &Slot) -> bool {
        self.is_prometheus_primary || !slot.rule.is_measurable() || slot.record().failure.is_some()
    }

    async fn round(&self, prometheus: &PrometheusSource, slots: &[Arc<Slot>]) {
        let scraped = match prometheus.scraped(&self.metrics).await {
            Ok(scraped) => scraped,
            Err(failed) => {
                for slot in slots {
                    self.fall_back(slot, failed.reason, &failed.message);
                }
                return;
            }
        };
        let ready = match self.fleet.view(process::clock::now()) {
            Ok(view) => view.ready,
            Err(message) => {
                tracing::debug!(error = message, "engines that should be scraped are not known");
                Vec::new()
            }
        };
        futures::stream::iter(slots)
            .for_each_concurrent(CONCURRENT_QUERIES, |slot| self.query(prometheus, slot, &scraped, &ready))
            .await;
    }

    async fn query(&self, prometheus: &PrometheusSource, slot: &Slot, scraped: &Scraped, ready: &[ReadyEngine]) {
        match prometheus.series(&slot.rule, &self.metrics).await {
            Err(failed) => self.fall_back(slot, failed.reason, &failed.message),
            Ok(series) => {
                slot.observe(&Observation {
                    source: PROMETHEUS,
                    at: process::clock::now(),
                    series: &series,
                    targets: &scraped.targets,
                    engines: ready,
                    scrape_interval: self.scrape_interval,
                });
                self.record_success(slot, PROMETHEUS);
            }
        }
    }

    /// The primary source failed for a rule: the backup answers if there is one and it can.
    fn fall_back(&self, slot: &Slot, reason: &'static str, message: &str) {
        self.metrics.collected(&slot.rule.name, PROMETHEUS, reason);
        if self.is_prometheus_primary && self.direct.is_some() && slot.rule.is_measurable() {
            tracing::debug!(rule = slot.rule.name, error = message, "the backup source answers");
            return match self.fleet.view(process::clock::now()) {
                Ok(view) => self.collect_directly(slot, &view.ready),
                Err(message) => self.fail(slot, DIRECT, "fleet", message),
            };
        }
        self.record_failure(slot, PROMETHEUS, message.to_owned());
    }

    fn fail(&self, slot: &Slot, source: &'static str, reason: &'static str, message: String) {
        self.metrics.collected(&slot.rule.name, source, reason);
        self.record_failure(slot, source, message);
    }

    fn record_failure(&self, slot: &Slot, source: &'static str, error: String) {
        // One line when a source begins to fail, not one per rule and round; metrics and answers tell the rest.
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(rule = slot.rule.name, source, error, "collection fails, the last good values stay");
        }
        slot.fail(Failure { source: source.to_owned(), at: process::clock::now(), message: error });
    }

    fn record_success(&self, slot: &Slot, source: &'static str) {
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(rule = slot.rule.name, source, "collection works");
        }
        self.metrics.collected(&slot.rule.name, source, "good");
    }
}

/// Between 0 and 1. Hash maps are seeded randomly by the standard library, which is all that is needed here.
fn jitter() -> f64 {
    use std::hash::BuildHasher;
    let random = std::hash::RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
