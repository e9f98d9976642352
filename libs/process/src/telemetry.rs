//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, ProcessSettings};

/// The log filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log level `{filter}` is not understood: {message}; write error, warn, info, debug, trace or a filter such as info,router=debug"
)]
pub struct TelemetryError {
    filter: String,
    message: String,
}

/// Starts logging for this process. A second call in one process (tests) changes nothing.
///
/// # Errors
/// If the filter text is malformed.
pub fn init(settings: &ProcessSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&settings.log_level)
        .map_err(|error| TelemetryError { filter: settings.log_level.clone(), message: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A subscriber that is set already stays: that is a test, or a library user's own choice.
    drop(match settings.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    });
    Ok(())
}
