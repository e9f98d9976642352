//! One model's loop in memory: readings → facts → `autoscaler_plan::decide`.

use std::collections::BTreeMap;
use std::sync::Arc;

use autoscaler_plan::{
    Claim, Decision, EngineFacts, Facts, Grant, LogRecord, Milestones, Observation, Phase, RouterFacts,
    RouterObservation, RouterReplica, RouterSample, Standby, State, decide,
};
use jiff::Timestamp;

use super::demand_file::DemandFile;
use super::fleet::{Fleet, Life, Member};
use super::readings::{EngineReading, RouterReading};
use super::validate::Model;
use crate::past::{BackFill, Source, Target};

/// A reading older than this many control periods and a second is stale: one lost or slow scrape is no loss of sight.
const STALE_PERIODS: f64 = 4.0;
const STALE_SLACK_SECONDS: f64 = 1.0;

/// What was read last.
#[derive(Debug, Default)]
pub struct Readings {
    /// Last reading of each engine.
    pub engines: BTreeMap<String, EngineReading>,
    /// Last reading of each engine that held metrics.
    pub good: BTreeMap<String, EngineReading>,
    /// Last reading of the router; `None` before the first.
    pub router: Option<RouterReading>,
    /// Whether there is a router to read at all.
    pub has_router: bool,
}

impl Readings {
    /// Age of the oldest good reading, in seconds.
    pub fn oldest_seconds(&self, now: Timestamp) -> f64 {
        let engines = self.good.values().filter_map(|reading| reading.sample.as_ref().ok()).map(|sample| sample.at);
        let router = self.router.iter().filter(|reading| reading.metrics.is_ok()).map(|reading| reading.at);
        engines.chain(router).map(|at| now.duration_since(at).as_secs_f64()).fold(0.0, f64::max)
    }
}

/// What one model's loop remembers.
#[derive(Debug, Default)]
pub struct Brain {
    /// What was learned.
    pub state: State,
    /// The last decision.
    pub decision: Option<Decision>,
    /// What it was made on.
    pub(crate) facts: Option<Facts>,
    /// Engines wanted, as last decided.
    pub wanted: u32,
    /// How far its past has come.
    pub back_fill: BackFill,
    /// Where the demand is kept; `None` if that is not possible.
    pub demand_file: Option<DemandFile>,
}

impl Brain {
    /// Decides how many engines the model should have. Returns what it asks of the GPUs, if it needs any: then it gets what
    /// is granted, see [`Brain::take`].
    pub fn decide(&mut self, model: &Model, fleet: &Fleet, readings: &Readings, now: Timestamp) -> Option<Claim> {
        let facts = facts(model, self.wanted, fleet, readings, now);
        let decision = decide(&facts, &mut self.state, now);
        let claim = model.pool.map(|terms| {
            let claim = Claim::of(&model.name, terms, &facts, &decision, &self.state);
            // A sleeping engine keeps its GPUs, and is the next to serve.
            Claim { takes_back: true, ending: claim.ending + fleet.asleep(&model.name), ..claim }
        });
        self.wanted = decision.replicas;
        self.decision = Some(decision);
        self.facts = Some(facts);
        claim
    }

    /// Tells the plan of the past, once it was read; after each decision.
    pub fn read_the_past(&mut self, past: &Arc<Source>, model: &Model, now: Timestamp) {
        let Some(decision) = &self.decision else { return };
        let target = Target { model: model.served_model_name.clone(), namespace: String::new(), share: 1.0 };
        self.back_fill.advance(past, &target, &model.settings, decision, &mut self.state, now);
    }

    /// Keeps the demand of the plan steps that have ended, for the next start.
    pub fn keep_demand(&mut self, model: &str) {
        let Some(file) = &mut self.demand_file else { return };
        if let Err(error) = file.append(&self.state.demand_since(file.next_step())) {
            tracing::warn!(model, %error, "the demand is not kept; a restart will not know these days");
        }
    }

    /// The last decision and what it was made on, for the log; once.
    pub fn record(&mut self, now: Timestamp) -> Option<LogRecord> {
        Some(LogRecord::new(now, self.facts.take()?, self.decision.clone()?))
    }

    /// Takes what the GPUs allow.
    pub fn take(&mut self, grant: &Grant) {
        if let Some(decision) = &mut self.decision {
            decision.take(grant);
            self.wanted = decision.replicas;
        }
    }
}

/// The snapshot that a decision is made on.
fn facts(model: &Model, wanted: u32, fleet: &Fleet, readings: &Readings, now: Timestamp) -> Facts {
    let settings = model.settings_at(now);
    let stale_seconds = STALE_PERIODS * settings.control_period_seconds + STALE_SLACK_SECONDS;
    let engines = fleet
        .members
        .iter()
        .filter(|member| member.model == model.name && !member.life.sleeps())
        .map(|member| EngineFacts {
            id: member.id.clone(),
            phase: phase(member),
            milestones: Milestones { woken: member.woken, ..Milestones::default() },
            observation: observation(member, readings, now, stale_seconds),
        })
        .collect();
    let router = router_facts(model, readings, now, stale_seconds);
    Facts { settings, replicas: wanted, engines, router, standby: standby(model, fleet) }
}

/// What of a model's engines sleeps; `None` where none ever will.
fn standby(model: &Model, fleet: &Fleet) -> Option<Standby> {
    let terms = model.sleep.filter(|_| !fleet.sleepless.contains(&model.name))?;
    Some(Standby { asleep: fleet.asleep(&model.name), most: terms.engines, price: terms.price })
}

fn phase(member: &Member) -> Phase {
    match member.life {
        // A crashed engine is on its way back: ordering another one for it would end in one too many.
        Life::Starting { since } | Life::Waking { since } | Life::Crashed { since, .. } => Phase::Starting { since },
        Life::Ready { since, .. } => Phase::Ready { created: member.woken.unwrap_or(member.launched), since },
        Life::Draining { .. } | Life::Stopping { .. } | Life::Dozing { .. } | Life::Asleep { .. } => Phase::Draining,
    }
}

fn observation(member: &Member, readings: &Readings, now: Timestamp, stale_seconds: f64) -> Observation {
    let why = || match readings.engines.get(&member.id).map(|reading| &reading.sample) {
        Some(Err(reason)) => reason.clone(),
        Some(Ok(_)) | None => "not asked yet".to_owned(),
    };
    let good = readings.good.get(&member.id).and_then(|reading| reading.sample.as_ref().ok());
    match good.filter(|sample| sample.at >= member.launched) {
        None => Observation::Absent { reason: why() },
        Some(sample) => {
            let age_seconds = now.duration_since(sample.at).as_secs_f64();
            match age_seconds > stale_seconds {
                true => Observation::Stale { age_seconds, reason: why() },
                false => Observation::Seen(sample.clone()),
            }
        }
    }
}

fn router_facts(model: &Model, readings: &Readings, now: Timestamp, stale_seconds: f64) -> RouterFacts {
    if !readings.has_router {
        return RouterFacts::NotConfigured;
    }
    let observation = match &readings.router {
        None => RouterObservation::Unreachable { reason: "not asked yet".to_owned() },
        Some(reading) => match &reading.metrics {
            Err(reason) => RouterObservation::Unreachable { reason: reason.clone() },
            Ok(_) if now.duration_since(reading.at).as_secs_f64() > stale_seconds => {
                RouterObservation::Unreachable { reason: "no answer lately".to_owned() }
            }
            Ok(metrics) => {
                // A name without a series was never asked for since the router started: that is a known zero.
                let seen = metrics.get(&model.served_model_name).cloned().unwrap_or_default();
                let unanswered_total = seen.unanswered_total();
                RouterObservation::Seen(RouterSample {
                    at: reading.at,
                    queue_depth: seen.queue_depth,
                    received_total: seen.received_total,
                    late_total: seen.late_total,
                    slow_total: seen.slow_total,
                    unanswered_total,
                    arrivals_share: 1.0,
                    engines: seen.engines,
                })
            }
        },
    };
    RouterFacts::Replicas(vec![RouterReplica { id: "router".to_owned(), observation }])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use autoscaler_plan::EngineSample;

    use super::*;
    use crate::observe::RouterPage;
    use crate::observe::read::RouterModel;
    use crate::standalone::fleet::{RouterView, Seen};
    use crate::standalone::validate::{Validated, validate};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
    }

    fn config(extra: &str) -> Validated {
        let text =
            format!("controlPeriod: 250ms\nmodels: [{{name: m, command: 'e {{port}}', maxReplicas: 4}}]\n{extra}");
        validate(process::config::parse(&text).unwrap(), Path::new("/state")).unwrap()
    }

    fn fleet_with_one_ready(config: &Validated) -> Fleet {
        let rules = BTreeMap::from([("m".to_owned(), config.models[0].rules.clone())]);
        let mut fleet = Fleet::default();
        let wanted = BTreeMap::from([("m".to_owned(), 1)]);
        let gpus = &config.gpus;
        fleet.step(at(0), &rules, &Seen { wanted: wanted.clone(), gpus, ..Seen::default() }, |_| Some(1));
        let health = BTreeMap::from([("m-0".to_owned(), true)]);
        fleet.step(at(1000), &rules, &Seen { wanted, health, gpus, ..Seen::default() }, |_| Some(1));
        fleet
    }

    #[test]
    fn a_silent_engine_becomes_stale_and_one_never_heard_is_absent() {
        let config = config("");
        let fleet = fleet_with_one_ready(&config);
        let mut readings = Readings::default();
        let seen =
            |readings: &Readings, now| facts(&config.models[0], 1, &fleet, readings, now).engines.remove(0).observation;
        assert!(matches!(seen(&readings, at(1100)), Observation::Absent { .. }));
        let sample = Ok(EngineSample::without_vllm_metrics(at(1200)));
        let reading = EngineReading { id: "m-0".into(), is_healthy: true, sample };
        readings.good.insert("m-0".into(), reading);
        assert!(matches!(seen(&readings, at(3100)), Observation::Seen(_)));
        assert!(matches!(seen(&readings, at(3300)), Observation::Stale { .. }));
    }

    #[test]
    fn the_router_is_told_apart_absent_silent_and_idle() {
        let config = config("");
        let fleet = fleet_with_one_ready(&config);
        let mut readings = Readings::default();
        let seen = |readings: &Readings| match facts(&config.models[0], 1, &fleet, readings, at(2000)).router {
            RouterFacts::NotConfigured => None,
            RouterFacts::Replicas(mut replicas) => Some(replicas.remove(0).observation),
        };
        assert_eq!(seen(&readings), None);
        readings.has_router = true;
        assert!(matches!(seen(&readings), Some(RouterObservation::Unreachable { .. })));
        let mut metrics = RouterPage::default();
        let view = Ok(RouterView::default());
        readings.router = Some(RouterReading { at: at(1900), metrics: Ok(metrics.clone()), view: view.clone() });
        assert!(matches!(seen(&readings), Some(RouterObservation::Seen(sample)) if sample.queue_depth < 0.5));
        metrics.insert("m".into(), RouterModel { queue_depth: 3.0, ..RouterModel::default() });
        readings.router = Some(RouterReading { at: at(1900), metrics: Ok(metrics), view });
        assert!(matches!(seen(&readings), Some(RouterObservation::Seen(sample)) if sample.queue_depth > 2.5));
    }
}
