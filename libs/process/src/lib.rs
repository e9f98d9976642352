//! What every program of the stack shares around its own story.
//!
//! ```text
//! args + config file → settings → telemetry → tasks { admin server, the program's own } → shutdown
//! ```
//!
//! Order of precedence, the same for every setting of every program:
//! flag, then environment variable, then configuration file, then default.
//!
//! Used by `adapter`, `autoscaler`, `router` and, for arguments and shutdown, the engine emulator.
//! Deliberately absent: anything that knows an engine, a metric of a program, or Kubernetes.

pub mod admin;
pub mod args;
pub mod clock;
pub mod config;
pub mod duration;
pub mod exit;
pub mod readiness;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;

mod resource_usage;

/// Installs the one crypto provider of the whole tree (aws-lc-rs). Call it first in `main`:
/// with two providers compiled in, rustls panics at the first handshake instead of choosing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
