//! From a record to an answer: the items that HPA reads, or a refusal that says which rule and why.

use jiff::Timestamp;

use crate::rule::{Component, Expression, Missing, Multiple, Rule};
use crate::selector::Selector;
use crate::series::Labels;
use crate::store::{Entry, Good, Record, is_young};

/// One value that is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Labels of the value.
    pub labels: Labels,
    /// The value; finite.
    pub value: f64,
    /// When it was sampled at its origin.
    pub sampled_at: Timestamp,
    /// The value was missing and is zero by the rule's policy.
    pub is_zero_by_policy: bool,
    /// A last good value is answered, because of this.
    pub problem: Option<String>,
}

/// Why nothing may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalKind {
    /// No collection has succeeded since the start.
    NotCollected,
    /// The collection works and nothing matches.
    NoMatch,
    /// Something matches and its value is not known.
    Unknown,
    /// The last good value is too old.
    TooOld,
    /// Several values match and must not be added up.
    Ambiguous,
}

impl RefusalKind {
    /// A bounded word for metric labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotCollected => "not_collected",
            Self::NoMatch => "no_match",
            Self::Unknown => "unknown",
            Self::TooOld => "too_old",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// A refusal; its message ends up word for word in the HPA's condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// Which rule, what is wrong and since when.
    pub message: String,
}

/// Answers a request for one namespace from a rule's record.
pub fn select(
    rule: &Rule,
    record: &Record,
    namespace: &str,
    selector: &Selector,
    now: Timestamp,
) -> Result<Vec<Item>, Refusal> {
    let question = Question { rule, record, namespace, selector, now };
    let matching: Vec<(&Labels, &Entry)> =
        record.entries.get(namespace).into_iter().flatten().filter(|(labels, _)| selector.matches(labels)).collect();
    if matching.is_empty() {
        return question.without_match();
    }
    let mut items = Vec::with_capacity(matching.len());
    for (labels, entry) in matching {
        items.push(question.item(labels, entry)?);
    }
    question.combined(items)
}

struct Question<'a> {
    rule: &'a Rule,
    record: &'a Record,
    namespace: &'a str,
    selector: &'a Selector,
    now: Timestamp,
}

impl Question<'_> {
    fn item(&self, labels: &Labels, entry: &Entry) -> Result<Item, Refusal> {
        let Some(good) = &entry.good else {
            let problem = entry.problem.as_deref().unwrap_or("it has no value");
            return Err(self.refuse(RefusalKind::Unknown, &format!("{}: {problem}", shown(labels))));
        };
        if !is_young(good.sampled_at, self.now, self.rule.max_age) {
            return Err(self.too_old(labels, entry, good));
        }
        let failure = self.record.failure.as_ref();
        let failed = failure.map(|failure| format!("collection from {} failed: {}", failure.source, failure.message));
        Ok(Item {
            labels: labels.clone(),
            value: good.value,
            sampled_at: good.sampled_at,
            is_zero_by_policy: good.is_zero_by_policy,
            problem: failed.or_else(|| entry.problem.clone()),
        })
    }

    fn too_old(&self, labels: &Labels, entry: &Entry, good: &Good) -> Refusal {
        let age_seconds = self.now.duration_since(good.sampled_at).as_secs();
        let limit_seconds = self.rule.max_age.as_secs();
        let cause = entry.problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
        let text = format!(
            "the value for {} is {age_seconds} s old, the limit is {limit_seconds} s{cause}{}",
            shown(labels),
            self.failure()
        );
        self.refuse(RefusalKind::TooOld, &text)
    }

    fn without_match(&self) -> Result<Vec<Item>, Refusal> {
        let Some((last_success, source)) = &self.record.last_success else {
            let text = format!("no collection has succeeded yet{}", self.failure());
            return Err(self.refuse(RefusalKind::NotCollected, &text));
        };
        if let Some(at) = self.is_plain_zero(*last_success) {
            let labels = Labels::from([("namespace".to_owned(), self.namespace.to_owned())]);
            return Ok(vec![Item { labels, value: 0.0, sampled_at: at, is_zero_by_policy: true, problem: None }]);
        }
        let text = format!("{}{}{}", self.nothing_matches(source), self.hint(), self.failure());
        Err(self.refuse(RefusalKind::NoMatch, &text))
    }

    /// A query of the user's own whose empty result means zero by its policy.
    fn is_plain_zero(&self, last_success: Timestamp) -> Option<Timestamp> {
        let is_zero = matches!(self.rule.expression, Expression::Promql(_)) && self.rule.missing == Missing::Zero;
        (is_zero && is_young(last_success, self.now, self.rule.max_age)).then_some(last_success)
    }

    fn nothing_matches(&self, source: &str) -> String {
        let (selector, namespace) = (self.selector, self.namespace);
        match self.rule.required_component() {
            None => format!("the query of this rule has no series for {selector} in namespace {namespace} ({source})"),
            Some(Component::Autoscaler) => {
                format!("no autoscaler publishes it for {selector} in namespace {namespace} ({source})")
            }
            Some(_) => format!("no scraped engine matches {selector} in namespace {namespace} ({source})"),
        }
    }

    fn hint(&self) -> String {
        if self.record.series_without_namespace > 0 {
            return format!(
                "; {} series carry no `namespace` label: add `by (namespace, ...)` to the query",
                self.record.series_without_namespace
            );
        }
        let Some(entries) = self.record.entries.get(self.namespace) else { return String::new() };
        // A few names help with a typing error; all of them would flood the HPA's events.
        let known: Vec<&str> =
            entries.keys().filter_map(|labels| labels.get("model")).map(String::as_str).take(5).collect();
        if known.is_empty() { String::new() } else { format!("; models there: {}", known.join(", ")) }
    }

    fn combined(&self, items: Vec<Item>) -> Result<Vec<Item>, Refusal> {
        if items.len() < 2 {
            return Ok(items);
        }
        let values = || items.iter().map(|item| item.value);
        #[expect(clippy::cast_precision_loss, reason = "a count of series")]
        let value = match self.rule.multiple {
            Multiple::Sum => return Ok(items),
            Multiple::Refuse => return Err(self.ambiguous(&items)),
            Multiple::Max => values().fold(f64::NEG_INFINITY, f64::max),
            Multiple::Min => values().fold(f64::INFINITY, f64::min),
            Multiple::Average => values().sum::<f64>() / items.len() as f64,
        };
        let sampled_at = items.iter().map(|item| item.sampled_at).min().unwrap_or(self.now);
        let labels = Labels::from([("namespace".to_owned(), self.namespace.to_owned())]);
        let problem = items.iter().find_map(|item| item.problem.clone());
        let is_zero_by_policy = items.iter().all(|item| item.is_zero_by_policy);
        Ok(vec![Item { labels, value, sampled_at, is_zero_by_policy, problem }])
    }

    fn ambiguous(&self, items: &[Item]) -> Refusal {
        let shown: Vec<String> = items.iter().take(5).map(|item| shown(&item.labels)).collect();
        let text = format!(
            "the selector {} matches {} values ({}); averages and quantiles cannot be added up: select one, for example model=NAME",
            self.selector,
            items.len(),
            shown.join(", ")
        );
        self.refuse(RefusalKind::Ambiguous, &text)
    }

    fn failure(&self) -> String {
        let failure = self.record.failure.as_ref();
        failure
            .map(|failure| format!("; the last collection from {} failed: {}", failure.source, failure.message))
            .unwrap_or_default()
    }

    fn refuse(&self, kind: RefusalKind, text: &str) -> Refusal {
        Refusal { kind, message: format!("rule {}: {text}", self.rule.name) }
    }
}

fn shown(labels: &Labels) -> String {
    match labels.get("model") {
        Some(model) => format!("model {model}"),
        None => {
            let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{{{}}}", pairs.join(","))
        }
    }
}
