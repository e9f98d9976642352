//! Predictive autoscaler for LLM engines: controller and standalone supervisor.
//!
//! ```text
//! observe (engines, routers) → decide (autoscaler-plan, pure) → apply (/scale) → report (status, events, metrics)
//! ```
//! `controller` does this for the EngineAutoscalers of a namespace, under a leader lease; `standalone` for the processes
//! of one host. `crd` prints or applies the definition; `explain` puts the last decision into words.
//!
//! What it does not do: it draws no conclusion outside autoscaler-plan, and it never writes `spec.replicas` of a target
//! that something else scales.

pub mod args;
pub mod controller;
pub mod crd;
pub mod decision_log;
pub mod explain;
pub mod lab;
pub mod leader;
pub mod metrics;
pub mod observe;
pub mod past;
pub mod standalone;

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod one_log;
