//! Pure core of the adapter: what a rule is, what its values are, and what may be answered.
//!
//! ```text
//! rules (defaults, the user's own) ──promql──▶ one query per rule
//! pages of targets ──history──▶ the same series without Prometheus
//! series + scraped targets + Ready engines ──store──▶ one record per rule, per model: a value or a problem
//! record + namespace + selector + now ──select──▶ items, or a refusal that says which rule and why
//! ```
//!
//! It reads no clock, does no input or output and knows no Kubernetes client: time is an argument, facts are structs.
//! It deliberately has no notion of a request, an HPA or a source's address.

pub mod defaults;
pub mod history;
pub mod promql;
pub mod rule;
pub mod select;
pub mod selector;
pub mod series;
pub mod store;

pub use rule::{Aggregate, Component, Expression, Function, Measure, Missing, Multiple, Rule};
pub use select::{Refusal, RefusalKind};
pub use selector::Selector;
pub use series::{Labels, ReadyEngine, Series, Target};
pub use store::{Failure, Observation, Record};
