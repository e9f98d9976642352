//! What the adapter promises, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod contract;
mod faults;
mod identity;
mod schema;
mod standalone;
mod support;
