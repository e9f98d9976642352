//! Why an experiment cannot be made.

use autoscaler_sim::SettingError;

use crate::trace::TraceError;

/// Why an experiment cannot be made: what is wrong, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The trace cannot be used.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A setting of the simulation is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A run could not be written.
    #[error("write a run as JSON")]
    Json(#[from] serde_json::Error),
    /// Nothing arrives.
    #[error("{trace} has no requests")]
    Silent {
        /// Name of the trace.
        trace: String,
    },
    /// Even one request in an empty engine takes longer than the objective allows.
    #[error(
        "this engine cannot serve the trace's mean request ({prompt_tokens:.0} prompt and {output_tokens:.0} answer \
         tokens) within the objective; allow a longer --ttft or --inter-token-latency, or choose another \
         --engine-profile"
    )]
    OutOfReach {
        /// Mean prompt.
        prompt_tokens: f64,
        /// Mean answer.
        output_tokens: f64,
    },
    /// The trace is shorter than anything that could be scored.
    #[error("{trace} is too short to be scored; a trace of at least {least_seconds:.0} s is needed")]
    TooShort {
        /// Name of the trace.
        trace: String,
        /// Shortest length that is scored.
        least_seconds: f64,
    },
    /// Training leaves nothing to score.
    #[error("{what} leaves nothing of the trace's {duration_hours:.1} h to score; {fix}")]
    NothingToScore {
        /// Which setting does.
        what: &'static str,
        /// Length of the trace.
        duration_hours: f64,
        /// What to change.
        fix: &'static str,
    },
}
