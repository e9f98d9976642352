//! Readings, pods and a target joined to the facts of one decision.

use std::time::Duration;

use autoscaler_plan::{
    EngineFacts, EngineSample, Facts, Milestones, Observation, Phase, RouterFacts, RouterObservation, RouterReplica,
    RouterSample, Settings,
};
use engines::{Engine, EngineState};
use jiff::Timestamp;

use super::read::RouterModel;
use super::{Reading, Readings, RouterPage};

/// A reading is used for this many periods of its own: two scrapes may be lost before anything is held.
const FRESH_PERIODS: f64 = 3.0;

/// How old readings may be.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Time between two scrapes of an engine.
    pub engine_period: Duration,
    /// Time between two scrapes of a router.
    pub router_period: Duration,
    /// Longest time one scrape may take.
    pub scrape_timeout: Duration,
}

/// A target's share of the router's queue for its served name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Ready engines of this target.
    pub own: usize,
    /// Ready engines of all targets that serve the name, this one included.
    pub all: usize,
    /// Targets that serve the name, this one included.
    pub targets: usize,
}

impl Share {
    /// By Ready engines; evenly while there are none.
    #[must_use]
    pub fn fraction(self) -> f64 {
        match (self.all, self.targets) {
            (0, 0 | 1) => 1.0,
            (0, targets) => 1.0 / targets as f64,
            (all, _) => self.own as f64 / all as f64,
        }
    }
}

/// Everything about one target but the readings.
#[derive(Clone, Debug)]
pub struct TargetView<'a> {
    /// The operator's settings.
    pub settings: Settings,
    /// `spec.replicas` of its scale.
    pub replicas: u32,
    /// Its engines.
    pub engines: Vec<&'a Engine>,
    /// Router replicas, and the name they know the model by; `None` without a name.
    pub router: Option<(&'a str, &'a [Engine])>,
    /// Its share of the router's queue.
    pub share: Share,
}

/// Joins all of it.
#[must_use]
pub fn facts(view: &TargetView<'_>, readings: &Readings, freshness: &Freshness, now: Timestamp) -> Facts {
    let engines = view
        .engines
        .iter()
        .map(|engine| EngineFacts {
            id: engine.id.clone(),
            phase: phase(engine, now),
            milestones: Milestones {
                scheduled: engine.scheduled_at,
                containers_started: engine.containers_started_at,
                woken: None,
            },
            observation: observation(&readings.engine(&engine.id), freshness, now),
        })
        .collect();
    let router = match view.router {
        None => RouterFacts::NotConfigured,
        Some((_, [])) => RouterFacts::NotConfigured,
        Some((served, replicas)) => {
            let replicas =
                replicas.iter().filter_map(|replica| router_replica(replica, served, view, readings, freshness, now));
            let replicas: Vec<_> = replicas.collect();
            if is_bypassed(&view.settings, &replicas) {
                RouterFacts::NotConfigured
            } else {
                RouterFacts::Replicas(replicas)
            }
        }
    };
    Facts { settings: view.settings.clone(), replicas: view.replicas, engines, router, standby: None }
}

/// Requests of a tier come through a router that tells prefill from decode. Ours, which may be there for other models, would
/// wake nothing at zero.
fn is_bypassed(settings: &Settings, replicas: &[RouterReplica]) -> bool {
    let is_unasked = |replica: &RouterReplica| match &replica.observation {
        RouterObservation::Seen(sample) => sample.received_total <= 0.0,
        RouterObservation::Unreachable { .. } => false,
    };
    settings.tier.is_some() && replicas.iter().all(is_unasked)
}

fn phase(engine: &Engine, now: Timestamp) -> Phase {
    let created = engine.created_at.unwrap_or(now);
    match engine.state {
        EngineState::Starting => Phase::Starting { since: created },
        EngineState::Ready => Phase::Ready { created, since: engine.ready_since.unwrap_or(created) },
        EngineState::Draining => Phase::Draining,
    }
}

fn age_seconds(at: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64()
}

fn limit_seconds(period: Duration, freshness: &Freshness) -> f64 {
    FRESH_PERIODS * period.as_secs_f64() + freshness.scrape_timeout.as_secs_f64()
}

fn observation(reading: &Reading<EngineSample>, freshness: &Freshness, now: Timestamp) -> Observation {
    let reason = reading.failure.clone().unwrap_or_else(|| "not scraped yet".to_owned());
    match &reading.good {
        None => Observation::Absent { reason },
        Some((at, sample)) => match age_seconds(*at, now) {
            age if age <= limit_seconds(freshness.engine_period, freshness) => Observation::Seen(sample.clone()),
            age_seconds => Observation::Stale { age_seconds, reason },
        },
    }
}

/// `None` for a replica that neither takes requests nor answers: it starts, or it is gone.
fn router_replica(
    replica: &Engine,
    served: &str,
    view: &TargetView<'_>,
    readings: &Readings,
    freshness: &Freshness,
    now: Timestamp,
) -> Option<RouterReplica> {
    let reading = readings.router(&replica.id);
    let fresh = |at: Timestamp| age_seconds(at, now) <= limit_seconds(freshness.router_period, freshness);
    let observation = match &reading.good {
        Some((at, page)) if fresh(*at) => RouterObservation::Seen(router_sample(page, served, view, *at)),
        Some(_) | None if replica.state != EngineState::Ready => return None,
        Some(_) | None => RouterObservation::Unreachable {
            reason: reading.failure.clone().unwrap_or_else(|| "not scraped yet".to_owned()),
        },
    };
    Some(RouterReplica { id: replica.id.clone(), observation })
}

fn router_sample(page: &RouterPage, served: &str, view: &TargetView<'_>, at: Timestamp) -> RouterSample {
    let share = view.share.fraction();
    // A name without series was not asked for since the router started: a known zero.
    let model = page.get(served).cloned().unwrap_or_default();
    let unanswered_total = model.unanswered_total();
    let RouterModel { queue_depth, received_total, late_total, slow_total, engines, .. } = model;
    let own = |id: &String| view.engines.iter().any(|engine| engine.id == *id);
    RouterSample {
        at,
        queue_depth: share * queue_depth,
        received_total,
        late_total,
        slow_total,
        unanswered_total,
        arrivals_share: share,
        engines: engines.into_iter().filter(|(id, _)| own(id)).collect(),
    }
}
