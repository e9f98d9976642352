//! The facts that a collection brings: values, targets that were scraped, engines that should be.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::rule::Component;

/// Labels of a series, ordered.
pub type Labels = BTreeMap<String, String>;

/// One value with its labels; may be NaN, as the source gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All labels but the metric's name.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

impl Series {
    /// The label's value; empty when it is not there, as in Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A program whose metrics page is read, and how its last scrape went.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What it is.
    pub component: Component,
    /// Namespace it runs in.
    pub namespace: String,
    /// Model an engine belongs to; empty for other components.
    pub model: String,
    /// Pod name, or the address where there is no pod.
    pub name: String,
    /// When the samples in use were taken; none if the last scrape failed.
    pub sampled_at: Option<Timestamp>,
}

/// An engine that takes requests, and so must be scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyEngine {
    /// Namespace it runs in.
    pub namespace: String,
    /// Model it belongs to.
    pub model: String,
    /// Pod name, or the address where there is no pod.
    pub name: String,
    /// Since when it takes requests.
    pub since: Timestamp,
}

/// Namespace and model: the unit that HPAs select.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey {
    /// Kubernetes namespace.
    pub namespace: String,
    /// `modelSpec[].name`.
    pub model: String,
}

impl ModelKey {
    /// Labels of a value that has no other labels.
    pub fn labels(&self) -> Labels {
        Labels::from([("model".to_owned(), self.model.clone()), ("namespace".to_owned(), self.namespace.clone())])
    }
}
