//! The adapter's own metrics: names and label sets, all in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::Store;

/// Labels of a rule's collections.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CollectionLabels {
    /// Rule.
    pub rule: String,
    /// Source that was asked.
    pub source: &'static str,
    /// `good` or a word for what failed.
    pub outcome: &'static str,
}

/// Labels of requests to a source.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceLabels {
    /// Source that was asked.
    pub source: &'static str,
    /// `good` or a word for what failed.
    pub outcome: &'static str,
}

/// Label of the time that requests to a source take.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceLabel {
    /// Source that was asked.
    pub source: &'static str,
}

/// Labels of API requests.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// API group, `discovery` or `other`.
    pub group: &'static str,
    /// Metric of a rule; `other` for names that no rule has, empty outside the group.
    pub metric: String,
    /// HTTP status code.
    pub code: u16,
}

/// Label of the time that API requests take.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct GroupLabel {
    /// API group, `discovery` or `other`.
    pub group: &'static str,
}

/// Label of reloads.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReloadLabel {
    /// `applied` or `refused`.
    pub outcome: &'static str,
}

/// All metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Collections of rules.
    pub collections: Family<CollectionLabels, Counter>,
    /// Requests to sources.
    pub source_requests: Family<SourceLabels, Counter>,
    /// Seconds that requests to sources take.
    pub source_duration: Family<SourceLabel, Histogram>,
    /// API requests.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds that API requests take.
    pub request_duration: Family<GroupLabel, Histogram>,
    /// Reloads of the configuration file.
    pub reloads: Family<ReloadLabel, Counter>,
    /// Rules of the file that are not served because they are wrong.
    pub rejected_rules: Gauge,
}

fn source_histogram() -> Histogram {
    Histogram::new([0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0])
}

/// From memory an answer takes tens of microseconds; what takes longer waited for a review of the caller.
fn request_histogram() -> Histogram {
    Histogram::new([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 3.0])
}

impl Metrics {
    /// Registers all metrics; ages are computed at each scrape from `store`.
    pub fn register(registry: &mut Registry, store: Arc<Store>) -> Self {
        let metrics = Self {
            collections: Family::default(),
            source_requests: Family::default(),
            source_duration: Family::new_with_constructor(source_histogram),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            reloads: Family::default(),
            rejected_rules: Gauge::default(),
        };
        registry.register("adapter_rule_collections", "Collections of a rule", metrics.collections.clone());
        registry.register("adapter_source_requests", "Requests to a source", metrics.source_requests.clone());
        registry.register(
            "adapter_source_request_duration_seconds",
            "Time that requests to a source take",
            metrics.source_duration.clone(),
        );
        registry.register("adapter_requests", "API requests", metrics.requests.clone());
        registry.register(
            "adapter_request_duration_seconds",
            "Time that API requests take",
            metrics.request_duration.clone(),
        );
        registry.register("adapter_config_reloads", "Reloads of the configuration file", metrics.reloads.clone());
        registry.register(
            "adapter_config_rejected_rules",
            "Rules that are not served because they are wrong",
            metrics.rejected_rules.clone(),
        );
        registry.register_collector(Box::new(RuleState { store }));
        metrics
    }

    /// Counts one request to a source.
    pub fn asked(&self, source: &'static str, outcome: &'static str, took: Duration) {
        self.source_requests.get_or_create(&SourceLabels { source, outcome }).inc();
        self.source_duration.get_or_create(&SourceLabel { source }).observe(took.as_secs_f64());
    }

    /// Counts one collection of a rule.
    pub fn collected(&self, rule: &str, source: &'static str, outcome: &'static str) {
        let labels = CollectionLabels { rule: rule.to_owned(), source, outcome };
        self.collections.get_or_create(&labels).inc();
    }
}

/// Age and number of series per rule, read from the store at each scrape: a counter of a task that hangs would lie.
#[derive(Debug)]
struct RuleState {
    store: Arc<Store>,
}

impl Collector for RuleState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = process::clock::now();
        let slots = self.store.slots();
        let gauge = prometheus_client::metrics::MetricType::Gauge;
        let help = "Seconds since the last good collection of a rule";
        let mut ages = encoder.encode_descriptor("adapter_rule_age_seconds", help, None, gauge)?;
        for slot in slots.values() {
            let record = slot.record();
            // No sample before the first success: absent is not zero.
            let Some((at, source)) = &record.last_success else { continue };
            let age = ConstGauge::new(now.duration_since(*at).as_secs_f64().max(0.0));
            let labels = [("rule", slot.rule.name.as_str()), ("source", source.as_str())];
            age.encode(ages.encode_family(&labels)?)?;
        }
        let help = "Series that are known of a rule";
        let mut series = encoder.encode_descriptor("adapter_rule_series", help, None, gauge)?;
        for slot in slots.values() {
            let count = ConstGauge::new(i64::try_from(slot.record().len()).unwrap_or(i64::MAX));
            count.encode(series.encode_family(&[("rule", slot.rule.name.as_str())])?)?;
        }
        Ok(())
    }
}
