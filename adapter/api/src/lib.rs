//! Wire types of the metrics APIs, exactly as a kube-apiserver and HPA expect them.
//!
//! ```text
//! f64 ──Quantity──▶ "1500m"           value of an item
//! items ──ExternalMetricValueList──▶  JSON body that HPA adds up
//! refusal ──Status──▶                 JSON body whose message HPA shows word for word
//! names ──discovery──▶                legacy and aggregated discovery documents
//! ```
//!
//! It does not decide anything: which items, which error and which names comes from `adapter-core`.
//! There is no protobuf yet; HPA takes JSON.

pub mod discovery;
pub mod external;
pub mod quantity;
pub mod status;

pub use external::{ExternalMetricValue, ExternalMetricValueList};
pub use quantity::Quantity;
pub use status::{Reason, Status};
