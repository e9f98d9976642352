//! An LLM engine that behaves as vLLM 0.32 does, without a GPU.
//!
//! Data flow: [`args`] and [`Settings`] → `server` (start up, serve, drain) → `http` (routes; `request` reads bodies,
//! `answer` writes them) → `engine` (a clock and one timer) → `scheduler` (pure: continuous batching over `kv` blocks,
//! timed by `engine-model`, counted in `stats`) → `metrics` (the text of `/metrics`).
//!
//! One process is one engine, on one thread; idle, it does nothing at all. What it does not do: it runs no model (the
//! text is noise made of words), and there is no data parallelism, LoRA, tool calling, logprobs or multi-modal input.

mod answer;
mod app;
pub mod args;
mod body;
mod engine;
mod faults;
mod http;
mod kv;
mod metrics;
mod problem;
mod request;
mod scheduler;
mod server;
mod settings;
mod socket;
mod startup;
mod stats;
mod text;
mod tokens;

pub use server::run;
pub use settings::{Settings, SettingsError};
