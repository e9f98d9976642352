//! What routers and engines count, as far as it is this target's.

use crate::facts::{EngineSample, Facts, Observation, Phase, RouterFacts, RouterObservation, RouterSample, SumCount};
use crate::look::router_view;

/// Time between events over time between tokens up to which events are taken for tokens.
const MOST_EVENT_OVER_TOKEN: f64 = 1.5;

/// A counter of one process, and how much of its growth is this target's.
pub(super) struct Counter {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) share: f64,
}

pub(super) fn received(facts: &Facts) -> Option<Vec<Counter>> {
    router_counters(facts, "router", |sample| Some(sample.received_total))
}

pub(super) fn unanswered(facts: &Facts) -> Option<Vec<Counter>> {
    router_counters(facts, "unanswered", |sample| Some(sample.unanswered_total))
}

/// `None` unless every router that answers counts them.
pub(super) fn late(facts: &Facts) -> Option<Vec<Counter>> {
    router_counters(facts, "late", |sample| sample.late_total)
}

/// The same.
pub(super) fn slow(facts: &Facts) -> Option<Vec<Counter>> {
    router_counters(facts, "slow", |sample| sample.slow_total)
}

/// Routers see events. Where one holds several tokens (speculative decoding, vLLM's `--stream-interval`), they come more slowly
/// than the tokens that the engines count, and a slow stream may be none.
pub(super) fn events_are_tokens(facts: &Facts) -> bool {
    let (mut events, mut tokens) = (SumCount::default(), SumCount::default());
    for engine in &facts.engines {
        let Observation::Seen(EngineSample { inter_token_latency: Some(of_tokens), .. }) = &engine.observation else {
            continue;
        };
        let seen = router_view(&facts.router, &engine.id).and_then(|view| view.inter_token_latency);
        (events, tokens) = (events + seen.unwrap_or_default(), tokens + *of_tokens);
    }
    // Unknown is taken as usual.
    events.sum * tokens.count <= MOST_EVENT_OVER_TOKEN * tokens.sum * events.count || tokens.count <= 0.0
}

/// `None` for a tier: a router counts what arrives for the model, which may be nothing where another one sends prompts to
/// prefill and answers to decode. What reaches the engines of a tier is told by them alone.
fn router_counters(facts: &Facts, kind: &str, value: impl Fn(&RouterSample) -> Option<f64>) -> Option<Vec<Counter>> {
    if facts.settings.tier.is_some() {
        return None;
    }
    let RouterFacts::Replicas(replicas) = &facts.router else { return None };
    let seen = replicas.iter().filter_map(|replica| match &replica.observation {
        RouterObservation::Seen(sample) => Some((&replica.id, sample)),
        RouterObservation::Unreachable { .. } => None,
    });
    let counters = seen.map(|(id, sample)| {
        let name = format!("{kind}/{id}");
        Some(Counter { name, value: value(sample)?, share: sample.arrivals_share })
    });
    counters.collect::<Option<Vec<_>>>().filter(|counters| !counters.is_empty())
}

/// `None` unless every Ready engine tells what it finished.
pub(super) fn finished(facts: &Facts) -> Option<Vec<Counter>> {
    let ready = facts.engines.iter().filter(|engine| matches!(engine.phase, Phase::Ready { .. }));
    let counters: Option<Vec<_>> = ready
        .map(|engine| match &engine.observation {
            Observation::Seen(sample) => {
                let value = sample.finished_total.or_else(|| has_served_nothing(sample).then_some(0.0))?;
                Some(Counter { name: format!("engine/{}", engine.id), value, share: 1.0 })
            }
            Observation::Absent { .. } | Observation::Stale { .. } => None,
        })
        .collect();
    counters.filter(|counters| !counters.is_empty())
}

/// A vLLM of several ranks shows nothing but names until its first request.
fn has_served_nothing(sample: &EngineSample) -> bool {
    sample.has_vllm_metrics && sample.running.is_none()
}
