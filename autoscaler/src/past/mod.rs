//! The past as a Prometheus kept it, handed to a plan that begins: it then predicts from its first minute.
//!
//! ```text
//! router_requests_received_total ─▶ Source::past ─▶ Rehearsed (lives through it, on a thread of its own)
//!                                                 ─▶ State::take_up, at the decision after
//! ```
//!
//! Decisions go on meanwhile and do not wait. What fails is said, and tried again.

pub mod back_fill;
pub mod config;
pub mod source;

pub use back_fill::{BackFill, Target};
pub use config::PrometheusConfig;
pub use source::Source;
