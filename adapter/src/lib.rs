//! Kubernetes metrics API server for LLM engines: external metrics answered from memory.
//!
//! ```text
//! collect  each rule on its own clock: one PromQL, or pages of the targets themselves
//! store    one record per rule and model: the last good value, and what is wrong now
//! select   namespace and label selector against the record, at the age it has
//! answer   identified, authorized, as HPA expects it; an error says which rule and why
//! ```
//!
//! A request never waits for a source, and readiness does not depend on one: kube-apiserver probes this server five
//! times every thirty seconds, and a dead metrics API disturbs the whole cluster.
//!
//! Deliberately absent: `custom.metrics.k8s.io`, protobuf, and any scaling decision.

pub mod cache;
pub mod check;
pub mod cluster;
pub mod collect;
pub mod config;
pub mod debug;
pub mod explain;
pub mod fleet;
pub mod metrics;
pub mod reload;
pub mod run;
pub mod serve;
pub mod store;
