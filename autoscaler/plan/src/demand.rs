//! Demand: requests in service and waiting, how fast they arrive and how long they stay, ahead over the start-up time.
//!
//! Work is counted once: an engine and the routers that send to it see the same requests, so the larger view counts.
//! What arrives is never taken from throughput, which a full fleet censors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::capacity::{Capacity, EngineLoad, standard_deviations};
use crate::decision::{Demand, Observed};
use crate::facts::{
    EngineFacts, EngineSample, Facts, Observation, Phase, RouterEngineView, RouterFacts, RouterObservation, SumCount,
};

/// The load is averaged over this share of the start-up time: a start that takes minutes need not answer a blip of seconds.
const SMOOTH_SHARE: f64 = 1.0 / 8.0;

/// Longest average of the load.
const SMOOTH_MOST_SECONDS: f64 = 30.0;

/// Arrivals are averaged over this share of the start-up time, and over `SLOW_SHARE` to see their growth.
const FAST_SHARE: f64 = 0.25;
const SLOW_SHARE: f64 = 2.0;

/// Growth adds at most this share of the present arrivals: a line drawn through noise must not order a fleet.
const MOST_GROWTH: f64 = 1.0;

/// A backlog is to be gone within this share of a start-up time once its engines are there.
const DRAIN_SHARE: f64 = 0.5;

/// Average with an exponential window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Average(Option<f64>);

impl Average {
    fn add(&mut self, value: f64, elapsed_seconds: f64, window_seconds: f64) {
        let old = self.0.unwrap_or(value);
        self.0 = Some(old + (1.0 - (-elapsed_seconds / window_seconds).exp()) * (value - old));
    }
}

/// What is remembered of the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DemandState {
    in_service: Average,
    waiting: Average,
    arrivals_fast: Average,
    arrivals_slow: Average,
    /// Requests in service, and requests that ended per second, over the same window: their ratio is the service time.
    served: Average,
    ended: Average,
    /// Last counters per engine and router, and the work then: after a restart the rate of the gap is known.
    counters: BTreeMap<String, f64>,
    work: Option<f64>,
}

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
    /// Per engine, for learning its capacity.
    pub(crate) loads: Vec<(String, EngineLoad)>,
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
        for engine in &facts.engines {
            look.join(engine, router_view(&facts.router, &engine.id), queue, router_at, facts);
        }
        let most = look.loads.iter().map(|(_, load)| load.in_service).fold(0.0, f64::max);
        for (_, load) in &mut look.loads {
            load.is_busiest = load.in_service + 0.5 >= most;
        }
        look
    }

    fn join(
        &mut self,
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
                self.loads.push((engine.id.clone(), load));
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
            period_seconds,
        }),
    }
}

/// Sum of what the router replicas see of an engine; `None` when none of them answered.
fn router_view(router: &RouterFacts, engine: &str) -> Option<RouterEngineView> {
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
        (Some(left), Some(right)) => Some(SumCount { sum: left.sum + right.sum, count: left.count + right.count }),
        (one, None) | (None, one) => one,
    }
}

impl DemandState {
    /// Takes one look into the averages. Without a complete look the averages stay: half a fleet is not half the load.
    pub(crate) fn learn(&mut self, facts: &Facts, look: &Look, elapsed_seconds: f64, startup_seconds: f64) {
        let period = facts.settings.control_period_seconds;
        let smooth = (SMOOTH_SHARE * startup_seconds).clamp(period, SMOOTH_MOST_SECONDS.max(period));
        let complete = look.observed.unobserved == 0 && look.observed.routers_silent == 0;
        if !complete {
            // Higher than known is certain, lower is not.
            let known = [(&mut self.in_service, look.in_service), (&mut self.waiting, look.waiting)];
            for (average, value) in known {
                if average.0.is_none_or(|old| value > old) {
                    average.add(value, elapsed_seconds, smooth);
                }
            }
            self.counters.clear();
            self.work = None;
            return;
        }
        self.in_service.add(look.in_service, elapsed_seconds, smooth);
        self.waiting.add(look.waiting, elapsed_seconds, smooth);
        let work = look.in_service + look.waiting;
        let received = self.increase(received_counters(facts));
        let finished = self.increase(finished_counters(facts));
        let change = self.work.replace(work).map(|before| work - before);
        if elapsed_seconds <= 0.0 {
            return;
        }
        let arrived = received.or_else(|| Some((finished? + change?).max(0.0)));
        let ended = finished.or_else(|| Some((received? - change?).max(0.0)));
        if let Some(arrived) = arrived {
            let rate = arrived / elapsed_seconds;
            self.arrivals_fast.add(rate, elapsed_seconds, (FAST_SHARE * startup_seconds).max(period));
            self.arrivals_slow.add(rate, elapsed_seconds, (SLOW_SHARE * startup_seconds).max(8.0 * period));
        }
        if let Some(ended) = ended {
            let window = startup_seconds.max(30.0 * period);
            self.served.add(look.in_service, elapsed_seconds, window);
            self.ended.add(ended / elapsed_seconds, elapsed_seconds, window);
        }
    }

    /// Growth of counters since the last look; a new or restarted process counts from where it is seen first.
    fn increase(&mut self, counters: Option<Vec<Counter>>) -> Option<f64> {
        let counters = counters?;
        let mut known = false;
        let mut sum = 0.0;
        for Counter { name, value, share } in counters {
            if let Some(before) = self.counters.insert(name, value) {
                known = true;
                sum += share * if value >= before { value - before } else { value };
            }
        }
        known.then_some(sum)
    }

    /// Forgets the counters of processes that are gone.
    pub(crate) fn retain(&mut self, facts: &Facts) {
        let known = received_counters(facts).into_iter().chain(finished_counters(facts)).flatten();
        let names: Vec<String> = known.map(|counter| counter.name).collect();
        self.counters.retain(|name, _| names.contains(name));
    }

    /// Requests at once to make room for, as seen when an engine ordered now is Ready.
    pub(crate) fn ahead(&self, look: &Look, capacity: &Capacity, facts: &Facts, startup_seconds: f64) -> Demand {
        let in_service = self.in_service.0.unwrap_or(look.in_service);
        let waiting = self.waiting.0.unwrap_or(look.waiting);
        let service_seconds = match (self.served.0, self.ended.0) {
            (Some(served), Some(ended)) if served > 0.0 && ended > 0.0 => Some(served / ended),
            _ => None,
        };
        let growth = self.growth(startup_seconds);
        let fast = self.arrivals_fast.0;
        let share = fast.filter(|fast| *fast > 0.0).map_or(0.0, |fast| growth / fast);
        // What arrives times how long it stays, where a full fleet shows no more than its own size.
        let offered = match (service_seconds, fast) {
            (Some(seconds), Some(rate)) if waiting >= 1.0 => in_service.max(rate * seconds),
            _ => in_service,
        };
        let backlog = self.backlog(waiting, service_seconds, startup_seconds);
        let mut slots = offered * (1.0 + share) + backlog;
        if slots < NOTHING && look.in_service + look.waiting <= 0.0 {
            slots = 0.0;
        }
        Demand {
            in_service: look.in_service,
            waiting: look.waiting,
            slots,
            margin: margin(slots, facts, capacity, service_seconds),
            arrivals_per_second: fast,
            forecast_per_second: fast.map(|fast| fast + growth),
            service_seconds,
        }
    }

    /// Arrivals per second that are added over the start-up time, if they go on growing as they do.
    fn growth(&self, startup_seconds: f64) -> f64 {
        let (Some(fast), Some(slow)) = (self.arrivals_fast.0, self.arrivals_slow.0) else { return 0.0 };
        // A line that rises by g a second is followed by an average over a window w at a distance of g·w.
        let per_second = (fast - slow) / ((SLOW_SHARE - FAST_SHARE) * startup_seconds);
        let noise = (fast / (2.0 * FAST_SHARE * startup_seconds)).sqrt();
        let growth = per_second * (1.0 + FAST_SHARE) * startup_seconds;
        if fast - slow <= noise { 0.0 } else { growth.clamp(0.0, MOST_GROWTH * fast) }
    }

    /// Room for what waits. Ordered engines come after a start-up time and then have as long to drain it: a request that
    /// is served in a tenth of that needs a tenth of a slot. Without this credit a queue orders ever more while its
    /// engines start.
    fn backlog(&self, waiting: f64, service_seconds: Option<f64>, startup_seconds: f64) -> f64 {
        let share = service_seconds.map_or(1.0, |seconds| (seconds / (DRAIN_SHARE * startup_seconds)).min(1.0));
        waiting * share
    }
}

/// Less than a hundredth of a request at once, with nothing there now, is the tail of an average.
const NOTHING: f64 = 0.01;

/// A counter of one process, and how much of its growth is this target's.
struct Counter {
    name: String,
    value: f64,
    share: f64,
}

fn received_counters(facts: &Facts) -> Option<Vec<Counter>> {
    let RouterFacts::Replicas(replicas) = &facts.router else { return None };
    let counters: Vec<_> = replicas
        .iter()
        .filter_map(|replica| match &replica.observation {
            RouterObservation::Seen(sample) => Some(Counter {
                name: format!("router/{}", replica.id),
                value: sample.received_total,
                share: sample.arrivals_share,
            }),
            RouterObservation::Unreachable { .. } => None,
        })
        .collect();
    (!counters.is_empty()).then_some(counters)
}

/// `None` unless every Ready engine tells what it finished.
fn finished_counters(facts: &Facts) -> Option<Vec<Counter>> {
    let ready = facts.engines.iter().filter(|engine| matches!(engine.phase, Phase::Ready { .. }));
    let counters: Option<Vec<_>> = ready
        .map(|engine| match &engine.observation {
            Observation::Seen(sample) => {
                Some(Counter { name: format!("engine/{}", engine.id), value: sample.finished_total?, share: 1.0 })
            }
            Observation::Absent { .. } | Observation::Stale { .. } => None,
        })
        .collect();
    counters.filter(|counters| !counters.is_empty())
}

/// Room for the chance of arrivals: square-root staffing.
///
/// With `a` requests in service on average and `a + β√a` slots, the share that waits longer than the slack `t` is
/// C(β)·exp(-β√a·t/S), C(β) = 1/(1 + βΦ(β)/φ(β)) (Halfin and Whitt). β is the smallest that keeps this below the misses
/// allowed; the slack is what the objective leaves beyond the time to first token at capacity.
fn margin(slots: f64, facts: &Facts, capacity: &Capacity, service_seconds: Option<f64>) -> f64 {
    if slots <= 0.0 {
        return 0.0;
    }
    let objective = &facts.settings.objective;
    let slack = (objective.ttft_seconds - capacity.ttft_seconds).max(0.0);
    let patience = service_seconds.map_or(0.0, |seconds| slack / seconds);
    let root = slots.sqrt();
    let allowed = 1.0 - objective.attainment;
    let late = |beta: f64| {
        let density = (-0.5 * beta * beta).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let below = 0.5 * erfc(-beta / std::f64::consts::SQRT_2);
        density / (density + beta * below) * (-beta * root * patience).exp()
    };
    let (mut low, mut high) = (0.0, standard_deviations(objective.attainment).max(0.0) + 1.0);
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if late(middle) > allowed { low = middle } else { high = middle }
    }
    high * root
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, exact in binary")]
mod tests;
