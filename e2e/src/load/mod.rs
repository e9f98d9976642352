//! Load as clients make it: recorded traces in, requests out, what each client felt back.
//!
//! ```text
//! trace (file → rates or requests) ─▶ replay (seeded arrivals) ─▶ client (streams, times, failures) ─▶ report
//! ```
//! Arrivals are open loop: a slow answer never delays the next request, as with real users.
//!
//! Deliberately absent: prompts with a meaning (only their length is replayed) and retries (a failure is a failure).

pub mod client;
pub mod day;
pub mod replay;
pub mod report;
pub mod run;
pub mod trace;
