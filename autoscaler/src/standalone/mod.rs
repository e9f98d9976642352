//! Standalone mode: the whole stack on one host, without Kubernetes and without Prometheus.
//!
//! ```text
//! read (engines' /health, /metrics; router's /metrics, /engines)
//!   → decide (the same autoscaler_plan::decide as in a cluster)
//!   → fleet (pure life of every engine) → orders
//!   → carry out (start, sleep, wake, SIGTERM, SIGKILL) → hand over (engines.json) → report (page, metrics, state.json)
//! ```
//! Every process is started into a process group of its own and writes into a file, so it survives this one; what runs
//! is kept in the state folder, so the next start adopts it.
//!
//! What it does not do: it does not install engines, it does not talk to other hosts, and its page has no login.

pub mod adopt;
pub mod args;
pub mod board;
pub mod brain;
pub mod command;
pub mod config;
pub mod days;
pub mod demand_file;
pub mod fingerprint;
pub mod fleet;
pub mod gpus;
pub mod history;
pub mod launch;
pub mod page;
pub mod process_identity;
pub mod programs;
pub mod quantiles;
pub mod readings;
pub mod report;
pub mod run;
pub mod sleep;
pub mod state_dir;
pub mod supervise;
pub mod validate;

pub use args::StandaloneArgs;
pub use config::StandaloneConfig;
pub use run::run;
