//! The laboratory: traces in, policies side by side, tables and reports out.
//!
//! ```text
//! file or folder ─▶ trace (five formats) ─▶ experiment (policies × seeds × queues × levels) ─▶ output: table, JSON, HTML
//! ```
//! The simulators, the policies to compare with and the optimum are `autoscaler-sim`'s; flags, files to write and the fetch
//! from a Prometheus are the `autoscaler` program's.
//!
//! What it does not do: it reads no clock, decides nothing about scaling, and asks no network.

pub mod advice;
pub mod benchmark;
mod error;
pub mod experiment;
pub mod output;
mod parallel;
pub mod policies;
mod predictive;
mod progress;
pub mod recurring;
pub mod saving;
mod scale;
pub mod trace;

pub use error::LabError;
pub use progress::Progress;
