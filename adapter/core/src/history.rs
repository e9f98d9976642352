//! The last minutes of every scraped target, and measures computed from them: the source without Prometheus.
//!
//! A ring of pages per target holds only the series that some rule needs. Counters are compared as Prometheus does it:
//! a counter that fell was reset. Unlike there, a counter that appears between two pages counts from zero, because we
//! know that the page before did not have it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::rule::{Aggregate, Component, Expression, Function, Measure, Rule};
use crate::series::{Labels, ModelKey, Series, Target};

mod quantile;

/// Shown by every vLLM; its labels connect models with served names.
const SERVED_BY: &str = "vllm:num_requests_running";
/// A vLLM page has about 1,500 series, of which rules need a hundred; a target with more than this is not one.
const MAX_SERIES_PER_TARGET: usize = 5_000;

/// One sample of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the series, with `_total` or `_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// As written on the page.
    pub value: f64,
}

/// Names a target for the time it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId {
    /// What it is.
    pub component: Component,
    /// Namespace it runs in.
    pub namespace: String,
    /// Model an engine belongs to; empty for other components.
    pub model: String,
    /// Pod name or address.
    pub name: String,
}

/// The last minutes of all targets.
#[derive(Clone, Debug)]
pub struct History {
    retention: Duration,
    wanted: BTreeSet<String>,
    targets: BTreeMap<TargetId, TargetHistory>,
}

#[derive(Clone, Debug, Default)]
struct TargetHistory {
    keys: BTreeMap<(String, Labels), usize>,
    pages: VecDeque<Page>,
    has_failed: bool,
}

#[derive(Clone, Debug)]
struct Page {
    at: Timestamp,
    /// By index of the key; shorter than the keys when series appeared later.
    values: Vec<Option<f64>>,
}

impl Page {
    fn value(&self, index: usize) -> Option<f64> {
        self.values.get(index).copied().flatten()
    }
}

impl History {
    /// A history that keeps what these rules need.
    pub fn new(rules: &[Rule], scrape_interval: Duration) -> Self {
        let mut history = Self {
            retention: Duration::ZERO,
            wanted: BTreeSet::from([SERVED_BY.to_owned()]),
            targets: BTreeMap::new(),
        };
        history.want(rules, scrape_interval);
        history
    }

    /// Takes other rules over without losing what was seen; a series that is new to them begins now.
    pub fn want(&mut self, rules: &[Rule], scrape_interval: Duration) {
        let mut longest = Duration::ZERO;
        for rule in rules {
            longest = longest.max(rule.window().unwrap_or_default());
            let Expression::FirstOf(measures) = &rule.expression else { continue };
            for measure in measures {
                let is_histogram = matches!(measure.function, Function::Quantile { .. });
                let suffix = if is_histogram { "_bucket" } else { "" };
                self.wanted.extend(measure.metrics.iter().map(|name| format!("{name}{suffix}")));
            }
        }
        // Two pages more than the window: one older than its start, one that is just being added.
        self.retention = longest + scrape_interval * 2;
    }

    /// Whether some rule needs the series; others need not be kept.
    pub fn is_wanted(&self, series_name: &str) -> bool {
        self.wanted.contains(series_name)
    }

    /// Takes a page in.
    pub fn record(&mut self, id: &TargetId, at: Timestamp, samples: Vec<Sample>) {
        let retention = SignedDuration::try_from(self.retention).unwrap_or(SignedDuration::MAX);
        let wanted = &self.wanted;
        let target = self.targets.entry(id.clone()).or_default();
        target.has_failed = false;
        let mut values = vec![None; target.keys.len()];
        for sample in samples.into_iter().filter(|sample| wanted.contains(&sample.name)) {
            let count = target.keys.len();
            let index = *target.keys.entry((sample.name, sample.labels)).or_insert(count);
            if index >= MAX_SERIES_PER_TARGET {
                continue;
            }
            if index >= values.len() {
                values.resize(index + 1, None);
            }
            values[index] = Some(sample.value);
        }
        if target.keys.len() > MAX_SERIES_PER_TARGET {
            target.keys.retain(|_, index| *index < MAX_SERIES_PER_TARGET);
        }
        target.pages.push_back(Page { at, values });
        while target.pages.front().is_some_and(|page| at.duration_since(page.at) > retention) {
            target.pages.pop_front();
        }
    }

    /// The target did not answer: its samples are not current any more, as if Prometheus marked them stale.
    pub fn fail(&mut self, id: &TargetId) {
        self.targets.entry(id.clone()).or_default().has_failed = true;
    }

    /// Forgets targets that no longer exist.
    pub fn keep_only(&mut self, existing: &BTreeSet<TargetId>) {
        self.targets.retain(|id, _| existing.contains(id));
    }

    /// All targets and how their last scrape went.
    pub fn targets(&self) -> Vec<Target> {
        let described = self.targets.iter().map(|(id, target)| Target {
            component: id.component,
            namespace: id.namespace.clone(),
            model: id.model.clone(),
            name: id.name.clone(),
            sampled_at: target.current().map(|page| page.at),
        });
        described.collect()
    }

    /// The rule's values; none for a query that only Prometheus can answer.
    pub fn evaluate(&self, rule: &Rule) -> Option<Vec<Series>> {
        let Expression::FirstOf(measures) = &rule.expression else { return None };
        let mut values: BTreeMap<ModelKey, Series> = BTreeMap::new();
        for measure in measures {
            for (key, value) in self.measured(measure) {
                let mut labels = key.labels();
                labels.extend(measure.labels.clone());
                values.entry(key).or_insert(Series { labels, value });
            }
        }
        Some(values.into_values().collect())
    }

    fn measured(&self, measure: &Measure) -> BTreeMap<ModelKey, f64> {
        if let Function::Quantile { quantile, window } = measure.function {
            return self.quantiles(measure, quantile, window);
        }
        let mut groups: BTreeMap<ModelKey, Vec<f64>> = BTreeMap::new();
        for (key, _, value) in self.contributions(measure, "") {
            groups.entry(key).or_default().push(value);
        }
        let aggregated = groups.into_iter().map(|(key, values)| (key, aggregate(measure.aggregate, &values)));
        if measure.is_split_by_served_name { self.split(aggregated) } else { aggregated.collect() }
    }

    fn quantiles(&self, measure: &Measure, quantile: f64, window: Duration) -> BTreeMap<ModelKey, f64> {
        debug_assert!(window > Duration::ZERO, "validated at the edge");
        let mut groups: BTreeMap<ModelKey, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, labels, value) in self.contributions(measure, "_bucket") {
            let Some(bound) = labels.get("le").and_then(|text| text.parse::<f64>().ok()) else { continue };
            let buckets = groups.entry(key).or_default();
            match buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
                Ok(place) => buckets[place].1 += value,
                Err(place) => buckets.insert(place, (bound, value)),
            }
        }
        groups.into_iter().map(|(key, buckets)| (key, quantile::of_buckets(quantile, &buckets))).collect()
    }

    /// One value per series of the measure's component. The key's model is the served name where that is to be split.
    fn contributions(&self, measure: &Measure, suffix: &str) -> Vec<(ModelKey, &Labels, f64)> {
        let mut found = Vec::new();
        for (id, target) in self.targets.iter().filter(|(id, _)| id.component == measure.component) {
            let Some(current) = target.current() else { continue };
            let names = measure.metrics.iter().map(|name| format!("{name}{suffix}"));
            let Some(name) = names.into_iter().find(|name| target.has(current, name)) else { continue };
            for ((_, labels), &index) in target.series(&name) {
                let value = match measure.function {
                    Function::Value => current.value(index),
                    Function::Rate { window } | Function::Quantile { window, .. } => target.rate(index, window),
                };
                let Some(value) = value else { continue };
                found.push((key_of(id, labels, measure), labels, value));
            }
        }
        found
    }

    /// Splits values per served name among the models that serve it, by their engines.
    fn split(&self, values: impl Iterator<Item = (ModelKey, f64)>) -> BTreeMap<ModelKey, f64> {
        // (namespace, served name) → model → engines
        let mut served: BTreeMap<(&str, &str), BTreeMap<&str, f64>> = BTreeMap::new();
        for (id, target) in self.targets.iter().filter(|(id, _)| id.component == Component::ServingEngine) {
            let Some(current) = target.current() else { continue };
            let names: BTreeSet<&str> = target
                .series(SERVED_BY)
                .filter(|(_, index)| current.value(**index).is_some())
                .filter_map(|((_, labels), _)| labels.get("model_name").map(String::as_str))
                .collect();
            for name in names {
                *served.entry((&id.namespace, name)).or_default().entry(&id.model).or_default() += 1.0;
            }
        }
        let mut split = BTreeMap::new();
        for (key, value) in values {
            let Some(models) = served.get(&(key.namespace.as_str(), key.model.as_str())) else { continue };
            let engines: f64 = models.values().sum();
            for (&model, count) in models {
                let model_key = ModelKey { namespace: key.namespace.clone(), model: model.to_owned() };
                *split.entry(model_key).or_insert(0.0) += value * count / engines;
            }
        }
        split
    }
}

fn key_of(id: &TargetId, labels: &Labels, measure: &Measure) -> ModelKey {
    let label = |name: &str| labels.get(name).cloned();
    let (namespace, model) = match id.component {
        Component::ServingEngine => (None, Some(id.model.clone())),
        Component::Router if measure.is_split_by_served_name => (None, label("model_name")),
        Component::Router | Component::Autoscaler => (label("namespace"), label("model")),
    };
    ModelKey { namespace: namespace.unwrap_or_else(|| id.namespace.clone()), model: model.unwrap_or_default() }
}

impl TargetHistory {
    fn current(&self) -> Option<&Page> {
        if self.has_failed { None } else { self.pages.back() }
    }

    fn series(&self, name: &str) -> impl Iterator<Item = (&(String, Labels), &usize)> {
        self.keys.range((name.to_owned(), Labels::new())..).take_while({
            let name = name.to_owned();
            move |((other, _), _)| *other == name
        })
    }

    fn has(&self, page: &Page, name: &str) -> bool {
        self.series(name).any(|(_, index)| page.value(*index).is_some())
    }

    /// Increase per second over the pages within the window before the current one; none before the second page.
    fn rate(&self, index: usize, window: Duration) -> Option<f64> {
        let last = self.pages.back()?;
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
        let mut pages = self.pages.iter().filter(|page| last.at.duration_since(page.at) <= window);
        let first = pages.next()?;
        let elapsed_seconds = last.at.duration_since(first.at).as_secs_f64();
        if elapsed_seconds <= 0.0 {
            return None;
        }
        last.value(index)?;
        let mut before = first.value(index).unwrap_or(0.0);
        let mut increase = 0.0;
        for value in pages.filter_map(|page| page.value(index)) {
            increase += if value < before { value } else { value - before };
            before = value;
        }
        Some(increase / elapsed_seconds)
    }
}

fn aggregate(how: Aggregate, values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of series")]
    let count = values.len() as f64;
    match how {
        Aggregate::Sum => values.iter().sum(),
        Aggregate::Average => values.iter().sum::<f64>() / count,
        Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

#[cfg(test)]
mod tests;
