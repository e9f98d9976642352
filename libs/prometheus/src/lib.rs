//! Questions to a Prometheus, with answers that can be trusted.
//!
//! ```text
//! PromQL ──check_promql──▶ syntax and type are right
//! URL    ──check_url─────▶ can be named in logs
//!        ──Client::query──▶ Answer { series, warnings }   absent, NaN and zero stay three things
//!                       └─▶ QueryError                     says what failed, for metrics and for people
//! ```
//!
//! Built on `prometheus-http-query`, whose client has no timeouts of its own, drops warnings (an incomplete answer of
//! Thanos looks complete) and hides status codes: so it sends, and this crate reads the answer.
//!
//! Used by `adapter` and `autoscaler`. Deliberately absent: caching, retries, any opinion on stale values.

mod check;
mod client;
mod history;
mod response;
mod url;

pub use check::{PromqlError, check_promql};
pub use client::{Client, Options, OptionsError, QueryError};
pub use response::{Answer, RangeSeries, Series};
pub use url::{UrlError, check_url};
