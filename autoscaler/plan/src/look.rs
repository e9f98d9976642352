//! The load at one moment: the engines' and the routers' views joined.
//!
//! Work is counted once: an engine and the routers that send to it see the same requests, so the larger view counts.

use crate::capacity::{EngineLoad, TokenLoad};
use crate::decision::Observed;
use crate::facts::{
    EngineFacts, EngineSample, Facts, Observation, Phase, RouterEngineView, RouterFacts, RouterObservation, SumCount,
};

/// The load at one moment, after views were joined.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    pub(crate) in_service: f64,
    pub(crate) waiting: f64,
    pub(crate) observed: Observed,
    /// Ready engines that answer without vLLM's metrics.
    pub(crate) router_view_only: u32,
    /// Router replicas that answered.
    pub(crate) routers_seen: u32,
    /// Engines that answered or that a router sees.
    pub(crate) engines_seen: u32,
    /// Of the Ready engines that are seen, with their places among the facts: for learning their capacity.
    pub(crate) loads: Vec<(usize, EngineLoad)>,
}

impl Look {
    /// Joins the engines' and the routers' views.
    pub(crate) fn at(facts: &Facts, now: jiff::Timestamp) -> Self {
        let mut look = Self::default();
        let (mut queue, mut router_at) = (0.0, now);
        if let RouterFacts::Replicas(replicas) = &facts.router {
            for replica in replicas {
                match &replica.observation {
                    RouterObservation::Unreachable { .. } => look.observed.routers_silent += 1,
                    RouterObservation::Seen(sample) => {
                        look.routers_seen += 1;
                        queue += sample.queue_depth;
                        router_at = sample.at;
                    }
                }
            }
        }
        look.waiting = queue;
        for (place, engine) in facts.engines.iter().enumerate() {
            look.join(place, engine, router_view(&facts.router, &engine.id), queue, router_at, facts);
        }
        let most = look.loads.iter().map(|(_, load)| load.in_service).fold(0.0, f64::max);
        for (_, load) in &mut look.loads {
            load.is_busiest = load.in_service + 0.5 >= most;
        }
        look
    }

    fn join(
        &mut self,
        place: usize,
        engine: &EngineFacts,
        router: Option<RouterEngineView>,
        queue: f64,
        router_at: jiff::Timestamp,
        facts: &Facts,
    ) {
        match engine.phase {
            Phase::Starting { .. } => self.observed.starting += 1,
            // What a draining engine still serves ends there and needs no room elsewhere.
            Phase::Draining => self.observed.draining += 1,
            Phase::Ready { .. } => {
                self.observed.ready += 1;
                let sample = match &engine.observation {
                    Observation::Seen(sample) => Some(sample),
                    Observation::Absent { .. } | Observation::Stale { .. } => None,
                };
                let period_seconds = facts.settings.control_period_seconds;
                let Some(mut load) = join_views(sample, router, router_at, period_seconds) else {
                    self.observed.unobserved += 1;
                    return;
                };
                self.engines_seen += 1;
                if sample.is_none() {
                    // The router sees what it sent, but not what waits inside, nor what others sent.
                    self.observed.unobserved += 1;
                }
                if sample.is_some_and(|sample| !sample.has_vllm_metrics) {
                    self.router_view_only += 1;
                }
                self.in_service += load.in_service;
                self.waiting += load.waiting;
                load.queue = queue;
                self.loads.push((place, load));
            }
        }
    }
}

/// The view of one engine: its own, the router's, or the larger of both.
fn join_views(
    sample: Option<&EngineSample>,
    router: Option<RouterEngineView>,
    router_at: jiff::Timestamp,
    period_seconds: f64,
) -> Option<EngineLoad> {
    let in_flight = router.map(|view| view.in_flight);
    match sample {
        // A vLLM that has not served anything yet shows these gauges without a sample: it answered, and it is idle.
        Some(sample) if sample.has_vllm_metrics => {
            let running = sample.running.unwrap_or(0.0);
            let waiting = sample.waiting.unwrap_or(0.0);
            // What the router sent and the engine does not show is on its way: it will run.
            let on_the_way = (in_flight.unwrap_or(0.0) - running - waiting).max(0.0);
            Some(EngineLoad {
                at: sample.at,
                in_service: running + on_the_way,
                waiting,
                queue: 0.0,
                is_busiest: true,
                ttft: sample.ttft,
                inter_token_latency: sample.inter_token_latency,
                tokens: TokenLoad::of(sample),
                period_seconds,
            })
        }
        Some(_) | None => router.map(|view| EngineLoad {
            at: router_at,
            in_service: view.in_flight,
            waiting: 0.0,
            queue: 0.0,
            is_busiest: true,
            ttft: view.ttft,
            inter_token_latency: view.inter_token_latency,
            tokens: TokenLoad::default(),
            period_seconds,
        }),
    }
}

/// Sum of what the router replicas see of an engine; `None` when none of them answered.
pub(crate) fn router_view(router: &RouterFacts, engine: &str) -> Option<RouterEngineView> {
    let RouterFacts::Replicas(replicas) = router else { return None };
    let mut sum: Option<RouterEngineView> = None;
    for replica in replicas {
        let RouterObservation::Seen(sample) = &replica.observation else { continue };
        let view = sample.engines.get(engine).copied().unwrap_or_default();
        let joined = sum.get_or_insert_default();
        joined.in_flight += view.in_flight;
        joined.ttft = add(joined.ttft, view.ttft);
        joined.inter_token_latency = add(joined.inter_token_latency, view.inter_token_latency);
    }
    sum
}

fn add(left: Option<SumCount>, right: Option<SumCount>) -> Option<SumCount> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (one, None) | (None, one) => one,
    }
}
