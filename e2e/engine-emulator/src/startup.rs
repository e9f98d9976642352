//! The time before an engine is ready, in the phases that vLLM logs.

use std::time::Duration;

/// Phases with their share of the whole, roughly as a dense model starts from a local disk.
const PHASES: [(&str, f64); 4] = [
    ("Starting to load model", 0.45),
    ("torch.compile of the model's graph", 0.25),
    ("Profiling memory, creating the KV cache", 0.10),
    ("Capturing CUDA graphs, warming up", 0.20),
];

/// Passes `whole` of wall time, and says what goes on.
pub(crate) async fn pass(model: &str, whole: Duration) {
    if whole.is_zero() {
        return;
    }
    for (phase, share) in PHASES {
        let duration = whole.mul_f64(share);
        tracing::info!(model, seconds = duration.as_secs_f64(), "{phase}");
        tokio::time::sleep(duration).await;
    }
}
