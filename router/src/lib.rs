//! The router: an OpenAI-compatible reverse proxy over all engines and models.
pub mod args;
pub mod config;
pub mod engine_url;
