//! What a rule is: a name that HPA asks for, where the value comes from, and what happens when it is missing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The programs whose metrics the adapter knows, by the `component` label that scraping adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// An LLM engine.
    ServingEngine,
    /// A router replica.
    Router,
    /// An autoscaler replica.
    Autoscaler,
}

impl Component {
    /// Value of the label `component`.
    pub fn label(self) -> &'static str {
        match self {
            Self::ServingEngine => "serving-engine",
            Self::Router => "router",
            Self::Autoscaler => "autoscaler",
        }
    }

    /// The component with that label, if it is one of ours.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::ServingEngine, Self::Router, Self::Autoscaler].into_iter().find(|known| known.label() == label)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What is done with samples over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// The last value of a gauge.
    Value,
    /// Increase per second of a counter over the window.
    Rate {
        /// How far it looks back.
        window: Duration,
    },
    /// Quantile of a histogram's observations in the window.
    Quantile {
        /// Between 0 and 1.
        quantile: f64,
        /// How far it looks back.
        window: Duration,
    },
}

/// How the series of one model become one value. Buckets of a histogram are always added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Aggregate {
    /// Added up.
    Sum,
    /// Their mean.
    Average,
    /// The largest.
    Max,
}

/// A measurement that Prometheus can be asked for and that can be computed from scraped pages alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Metric names that mean the same; the first that a target has counts. Histograms without `_bucket`.
    pub metrics: Vec<String>,
    /// Whose metric it is.
    pub component: Component,
    /// What is done with samples over time.
    pub function: Function,
    /// How the series of one model become one value.
    pub aggregate: Aggregate,
    /// The metric carries a served name (`model_name`), which several models may share: its value is split among them
    /// by their scraped engines.
    pub is_split_by_served_name: bool,
    /// Labels added to the result, to say what was measured.
    pub labels: BTreeMap<String, String>,
}

/// Where values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// The first measure that has a value, per model.
    FirstOf(Vec<Measure>),
    /// A query of the user's own; only Prometheus can answer it.
    Promql(String),
}

/// What a missing value means, where the component that would show it was scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// Not known: HPA gets an error and holds.
    #[default]
    Error,
    /// Nothing happened: 0.
    Zero,
}

/// What is answered when a selector matches several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Multiple {
    /// All of them; HPA adds them up.
    #[default]
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their mean.
    Average,
    /// An error: adding up averages or quantiles is wrong.
    Refuse,
}

/// A rule behind the edge: validated, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The metric name that HPA asks for.
    pub name: String,
    /// Where values come from.
    pub expression: Expression,
    /// Time between two collections.
    pub interval: Duration,
    /// Values sampled longer ago do not answer.
    pub max_age: Duration,
    /// What a missing value (or a quantile without observations) means.
    pub missing: Missing,
    /// What is answered when a selector matches several values.
    pub multiple: Multiple,
}

impl Rule {
    /// Length of the window that the value covers, if it covers one.
    pub fn window(&self) -> Option<Duration> {
        let Expression::FirstOf(measures) = &self.expression else { return None };
        measures.iter().find_map(|measure| match measure.function {
            Function::Value => None,
            Function::Rate { window } | Function::Quantile { window, .. } => Some(window),
        })
    }

    /// The one query that collects this rule from Prometheus, for all namespaces.
    pub fn promql(&self) -> String {
        match &self.expression {
            Expression::FirstOf(measures) => crate::promql::first_of(measures, self.max_age),
            Expression::Promql(query) => query.clone(),
        }
    }

    /// Whether values can be computed from scraped pages, without Prometheus.
    pub fn is_measurable(&self) -> bool {
        matches!(self.expression, Expression::FirstOf(_))
    }

    /// The component without which there is no value; none for a query of the user's own.
    pub fn required_component(&self) -> Option<Component> {
        match &self.expression {
            // The last measure is what is left to fall back to.
            Expression::FirstOf(measures) => measures.last().map(|measure| measure.component),
            Expression::Promql(_) => None,
        }
    }
}
