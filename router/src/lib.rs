//! The router: an OpenAI-compatible reverse proxy over all engines and models.
//!
//! ```text
//! request ─▶ admit ─▶ route ─▶ proxy ─▶ observe ─▶ answer          (serve.rs tells the story)
//!            read     pick     send     stream back
//!            count    or wait  retry    measure
//!                      ▲
//!   list of engines ─▶ fleet ─▶ Snapshot (immutable, swapped)       (control thread)
//!   /v1/models, /health ─┘
//! ```
//!
//! One thread per core carries requests; the control thread keeps the snapshot, the admin server and the configuration.
//! Deliberately absent: typed request or answer bodies (bytes pass unchanged), TLS, authentication, and any knowledge of
//! tokens. Decisions are in `router-core`, which is pure.

pub mod args;
pub mod config;
pub mod engine_url;
pub mod run;

pub mod admit;
pub mod body;
pub mod fleet;
pub mod headers;
pub mod live;
pub mod metrics;
pub mod observe;
pub mod own;
pub mod pool;
pub mod probe;
pub mod proxy;
pub mod queue;
pub mod refusal;
pub mod reload;
pub mod route;
pub mod serve;
pub mod setback;
pub mod shared;
pub mod worker;
