//! One record per rule: for each series the last good value, and what is wrong now if something is.
//!
//! An observation replaces what it explains. A value that is no longer explained stays, with the problem beside it,
//! until it is older than the rule's `maxAge`: one failed scrape must not move HPA, a dead source must not be masked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::rule::{Component, Missing, Rule};
use crate::series::{Labels, ModelKey, ReadyEngine, Series, Target};

/// A successful collection of one rule.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Name of the source, for messages.
    pub source: &'a str,
    /// When the source answered.
    pub at: Timestamp,
    /// The rule's values.
    pub series: &'a [Series],
    /// Everything that is scraped.
    pub targets: &'a [Target],
    /// Engines that take requests; none if the adapter cannot know.
    pub engines: &'a [ReadyEngine],
    /// Time between two scrapes of an engine.
    pub scrape_interval: Duration,
}

/// A collection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the source.
    pub source: String,
    /// When it failed.
    pub at: Timestamp,
    /// What failed, for people.
    pub message: String,
}

/// A value that may be answered while it is young enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Good {
    /// The value; finite.
    pub value: f64,
    /// When it was sampled at its origin: the oldest of the targets that went into it.
    pub sampled_at: Timestamp,
    /// The value was missing and is zero by the rule's policy.
    pub is_zero_by_policy: bool,
}

/// What is known of one series of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The last good value.
    pub good: Option<Good>,
    /// Why the last observation has no good value.
    pub problem: Option<String>,
}

/// What is known of one rule. A record is immutable for its readers; collections make a new one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// By namespace, then by labels.
    pub entries: BTreeMap<String, BTreeMap<Labels, Entry>>,
    /// The last collection that succeeded: when, and from which source.
    pub last_success: Option<(Timestamp, String)>,
    /// The last failure, if the last collection failed.
    pub failure: Option<Failure>,
    /// Series of the last collection without a namespace: nobody can ask for them.
    pub series_without_namespace: usize,
}

impl Record {
    /// The record after a failed collection: nothing is forgotten.
    pub fn failed(&self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self.clone() }
    }

    /// The record after a successful collection.
    pub fn observed(&self, rule: &Rule, observation: &Observation<'_>) -> Self {
        let mut fresh = Self {
            entries: BTreeMap::new(),
            last_success: Some((observation.at, observation.source.to_owned())),
            failure: None,
            series_without_namespace: observation.series.iter().filter(|s| s.label("namespace").is_empty()).count(),
        };
        match rule.required_component() {
            None => fresh.take_plain(rule, observation),
            Some(Component::Autoscaler) => fresh.take_wishes(rule, observation),
            Some(component) => fresh.take_models(rule, component, observation),
        }
        fresh.keep_last_good(self, rule, observation.at);
        fresh
    }

    /// Number of series with a value or a problem.
    pub fn len(&self) -> usize {
        self.entries.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, labels: Labels, entry: Entry) {
        let namespace = labels.get("namespace").cloned().unwrap_or_default();
        if !namespace.is_empty() {
            self.entries.entry(namespace).or_default().insert(labels, entry);
        }
    }

    /// A query of the user's own: its result is all there is, sampled when the source answered.
    fn take_plain(&mut self, rule: &Rule, observation: &Observation<'_>) {
        for series in observation.series {
            let entry = valued(rule, series.value, observation.at);
            self.put(series.labels.clone(), entry);
        }
    }

    /// The autoscaler's values: sampled when its replicas were scraped. Which namespaces it speaks for only it knows.
    fn take_wishes(&mut self, rule: &Rule, observation: &Observation<'_>) {
        let scraped = observation.targets.iter().filter(|target| target.component == Component::Autoscaler);
        let Some(sampled_at) = scraped.filter_map(|target| target.sampled_at).min() else { return };
        for series in observation.series {
            let entry = valued(rule, series.value, sampled_at);
            self.put(series.labels.clone(), entry);
        }
    }

    /// Values per model, explained by scraped targets and by engines that should have been scraped.
    fn take_models(&mut self, rule: &Rule, component: Component, observation: &Observation<'_>) {
        let scrapes = Scrapes::new(rule, component, observation);
        let mut values: BTreeMap<ModelKey, &Series> = BTreeMap::new();
        for series in observation.series {
            values.insert(model_key(series.label("namespace"), series.label("model")), series);
        }
        let mut keys: BTreeSet<&ModelKey> = scrapes.oldest.keys().collect();
        keys.extend(scrapes.unscraped.keys());
        keys.extend(scrapes.failed.keys());
        for key in keys {
            let entry = match scrapes.sampled_at(key) {
                Err(problem) => Entry { good: None, problem: Some(problem) },
                Ok(sampled_at) => match values.get(key) {
                    Some(series) => valued(rule, series.value, sampled_at),
                    None => missing(rule, sampled_at, "it shows no sample of this metric yet"),
                },
            };
            let labels = values.get(key).map_or_else(|| key.labels(), |series| series.labels.clone());
            self.put(labels, entry);
        }
    }

    /// Carries over last good values that are young enough and that this observation does not replace.
    fn keep_last_good(&mut self, before: &Self, rule: &Rule, at: Timestamp) {
        // A query of the user's own that answered has said what exists now; a series that is gone is gone.
        if rule.required_component().is_none() && !self.is_empty() {
            return;
        }
        for (namespace, entries) in &before.entries {
            for (labels, entry) in entries {
                let Some(good) = entry.good.clone().filter(|good| is_young(good.sampled_at, at, rule.max_age)) else {
                    continue;
                };
                let now = self.entries.entry(namespace.clone()).or_default();
                if let Some(current) = find_same_model(now, labels) {
                    if current.good.is_none() {
                        current.good = Some(good);
                    }
                    continue;
                }
                let problem = Some("it was not in the last collection".to_owned());
                now.insert(labels.clone(), Entry { good: Some(good), problem });
            }
        }
        self.entries.retain(|_, entries| !entries.is_empty());
    }
}

/// The entry with these labels or, when the labels beside the model changed (arrivals became completions), the entry
/// of the same model: two values of one model would be added up.
fn find_same_model<'a>(entries: &'a mut BTreeMap<Labels, Entry>, labels: &Labels) -> Option<&'a mut Entry> {
    if entries.contains_key(labels) {
        return entries.get_mut(labels);
    }
    let model = labels.get("model")?;
    entries.iter_mut().find(|(other, _)| other.get("model") == Some(model)).map(|(_, entry)| entry)
}

/// Whether something sampled then may still be answered now.
pub fn is_young(sampled_at: Timestamp, now: Timestamp, max_age: Duration) -> bool {
    now.duration_since(sampled_at) <= SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX)
}

fn valued(rule: &Rule, value: f64, sampled_at: Timestamp) -> Entry {
    if value.is_finite() {
        return Entry { good: Some(Good { value, sampled_at, is_zero_by_policy: false }), problem: None };
    }
    if value.is_nan() {
        return missing(rule, sampled_at, "the value is not a number (NaN): nothing was observed in the window");
    }
    Entry { good: None, problem: Some(format!("the value is {value}, which no quantity can say")) }
}

fn missing(rule: &Rule, sampled_at: Timestamp, problem: &str) -> Entry {
    match rule.missing {
        Missing::Zero => Entry { good: Some(Good { value: 0.0, sampled_at, is_zero_by_policy: true }), problem: None },
        Missing::Error => Entry { good: None, problem: Some(problem.to_owned()) },
    }
}

fn model_key(namespace: &str, model: &str) -> ModelKey {
    ModelKey { namespace: namespace.to_owned(), model: model.to_owned() }
}

/// Which models' engines were scraped, and which were not although they should.
struct Scrapes {
    oldest: BTreeMap<ModelKey, Timestamp>,
    failed: BTreeMap<ModelKey, String>,
    unscraped: BTreeMap<ModelKey, String>,
    /// Oldest scrape of another component that is needed, by namespace; none if engines alone suffice.
    needed: Option<(Component, BTreeMap<String, Timestamp>)>,
}

impl Scrapes {
    fn new(rule: &Rule, component: Component, observation: &Observation<'_>) -> Self {
        let mut scrapes = Self {
            oldest: BTreeMap::new(),
            failed: BTreeMap::new(),
            unscraped: BTreeMap::new(),
            needed: (component != Component::ServingEngine).then(|| (component, BTreeMap::new())),
        };
        let mut scraped: BTreeSet<(&str, &str)> = BTreeSet::new();
        for target in observation.targets {
            let sampled_at = target.sampled_at.filter(|&at| is_young(at, observation.at, rule.max_age));
            if target.component == Component::ServingEngine {
                let key = model_key(&target.namespace, &target.model);
                if let Some(at) = sampled_at {
                    scraped.insert((&target.namespace, &target.name));
                    keep_oldest(scrapes.oldest.entry(key), at);
                } else {
                    scrapes.failed.insert(key, target.name.clone());
                }
            } else if let (Some((needed, oldest)), Some(at)) = (&mut scrapes.needed, sampled_at)
                && *needed == target.component
            {
                keep_oldest(oldest.entry(target.namespace.clone()), at);
            }
        }
        let grace = grace(observation.scrape_interval);
        for engine in observation.engines {
            let is_due = !is_young(engine.since, observation.at, grace);
            if is_due && !scraped.contains(&(engine.namespace.as_str(), engine.name.as_str())) {
                scrapes.unscraped.insert(model_key(&engine.namespace, &engine.model), engine.name.clone());
            }
        }
        scrapes
    }

    /// When the model's samples were taken, or why they cannot be trusted.
    fn sampled_at(&self, key: &ModelKey) -> Result<Timestamp, String> {
        if let Some(name) = self.unscraped.get(key) {
            return Err(format!("engine {name} takes requests and is not scraped, so a part of the load is not seen"));
        }
        let Some(&engines) = self.oldest.get(key) else {
            let name = self.failed.get(key).map_or("", String::as_str);
            return Err(format!("no engine was scraped (the last scrape of {name} failed)"));
        };
        match &self.needed {
            None => Ok(engines),
            Some((component, oldest)) => match oldest.get(&key.namespace) {
                Some(&at) => Ok(at),
                None => Err(format!("no {component} was scraped")),
            },
        }
    }
}

fn keep_oldest<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, Timestamp>, at: Timestamp) {
    let oldest = entry.or_insert(at);
    *oldest = at.min(*oldest);
}

/// An engine may be Ready for two scrapes and five seconds, at least 15 s, before its absence is an error.
fn grace(scrape_interval: Duration) -> Duration {
    (scrape_interval * 2 + Duration::from_secs(5)).max(Duration::from_secs(15))
}

#[cfg(test)]
mod tests;
