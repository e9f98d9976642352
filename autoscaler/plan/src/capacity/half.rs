//! Prefill and decode on engines of their own: each is learned against its own half of the objective, by the same model.

use engine_model::Workload;

use super::intervals::{LatencySample, Step};
use crate::facts::Objective;
use crate::tiers::Tier;

/// What a mean request makes an engine of `tier` compute. A prefill engine computes a prompt and is done: the step that the
/// model knows is then the whole prompt. To a decode engine all prompts are cached.
pub(super) fn workload(tier: Option<Tier>, mean: Workload) -> Workload {
    match tier {
        None => mean,
        Some(Tier::Prefill) => Workload { output_tokens: 0.0, ..mean },
        Some(Tier::Decode) => Workload { cached_share: 1.0, ..mean },
    }
}

/// The objective of a step. The first token is prefill's, those after it are decode's, and neither has anything of the other.
pub(super) fn objective(tier: Option<Tier>, objective: &Objective) -> Objective {
    let of_step = match tier {
        None => return *objective,
        Some(Tier::Prefill) => objective.ttft_seconds,
        Some(Tier::Decode) => objective.inter_token_latency_seconds,
    };
    Objective { ttft_seconds: f64::INFINITY, inter_token_latency_seconds: of_step, ..*objective }
}

/// Step times and times to first token, for the `objective` of a step.
pub(super) fn samples(
    tier: Option<Tier>,
    step: &Step,
    objective: &Objective,
) -> (Option<LatencySample>, Option<LatencySample>) {
    let seen = |sample: Option<LatencySample>| sample.filter(|sample| sample.in_service > 0.0);
    match tier {
        // A first token that waited in a queue tells of the queue, not of the batch: a full engine is told otherwise.
        None => (seen(step.inter_token_latency), seen(step.ttft).filter(|first| !first.waited)),
        // To a prefill engine the queue is a part of the time to first token, and two looks see a prompt by chance: how many
        // were in the engine is told exactly by how long all of them took (Little).
        Some(Tier::Prefill) => (step.ttft.map(|first| up_to(objective.inter_token_latency_seconds, first)), None),
        Some(Tier::Decode) => (seen(step.inter_token_latency), None),
    }
}

/// One prompt and those that it meets. A queue that grows says how fast it is worked off, and no more: half of it would take
/// half as long.
fn up_to(seconds: f64, first: LatencySample) -> LatencySample {
    let beyond = (first.seconds / seconds).max(1.0);
    LatencySample { in_service: 1.0 + first.in_progress / beyond, seconds: first.seconds / beyond, ..first }
}

/// Whether requests that wait say that the batch is full, and those that run how large the cache is. In a prefill engine they
/// wait for the step before theirs, and the cache of those that are done is held until decode takes it.
pub(super) fn shows_its_limits(tier: Option<Tier>) -> bool {
    tier != Some(Tier::Prefill)
}
