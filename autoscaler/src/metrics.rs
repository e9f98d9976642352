//! Every metric of the controller.

use std::sync::atomic::AtomicU64;

use autoscaler_plan::Decision;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Number = Gauge<f64, AtomicU64>;

/// Labels of the metrics that an HPA selects on.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ModelLabels {
    /// Namespace of the target.
    pub namespace: String,
    /// `modelSpec[].name`, the `model` label of the engines.
    pub model: String,
}

/// Labels of one EngineAutoscaler.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ObjectLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    namespace: String,
    name: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuantileLabels {
    namespace: String,
    name: String,
    quantile: &'static str,
}

/// Levels of a forecast's quantiles, as labels.
const QUANTILES: [&str; 4] = ["0.5", "0.8", "0.95", "0.99"];

fn quantile_labels(object: &ObjectLabels, quantile: &'static str) -> QuantileLabels {
    QuantileLabels { namespace: object.namespace.clone(), name: object.name.clone(), quantile }
}

fn set_quantiles(family: &Family<QuantileLabels, Number>, object: &ObjectLabels, values: [f64; QUANTILES.len()]) {
    for (quantile, value) in QUANTILES.into_iter().zip(values) {
        family.get_or_create(&quantile_labels(object, quantile)).set(value);
    }
}

/// The controller's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    engine_desired_replicas: Family<ModelLabels, Gauge>,
    engine_forecast: Family<ModelLabels, Number>,
    replicas_desired: Family<ObjectLabels, Gauge>,
    replicas_current: Family<ObjectLabels, Gauge>,
    replicas_ready: Family<ObjectLabels, Gauge>,
    decisions: Family<ReasonLabels, Counter>,
    capacity: Family<ObjectLabels, Number>,
    startup: Family<QuantileLabels, Number>,
    demand: Family<ObjectLabels, Number>,
    forecast: Family<QuantileLabels, Number>,
    forecast_coverage: Family<QuantileLabels, Number>,
    regret: Family<ObjectLabels, Number>,
    missed: Family<ObjectLabels, Number>,
    unobserved: Family<ObjectLabels, Gauge>,
    asleep: Family<ObjectLabels, Gauge>,
    observation_age: Family<ObjectLabels, Number>,
    leader: Gauge,
}

impl Metrics {
    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, metric: &Family<ObjectLabels, Gauge>| {
            registry.register(name, help, metric.clone());
        };
        add("autoscaler_replicas_desired", "Replicas decided on", &self.replicas_desired);
        add("autoscaler_replicas_current", "Replicas the target is told to have", &self.replicas_current);
        add("autoscaler_replicas_ready", "Engines that are Ready", &self.replicas_ready);
        add("autoscaler_engines_unobserved", "Ready engines whose load is unknown", &self.unobserved);
        add("autoscaler_engines_asleep", "Engines that sleep, where they may", &self.asleep);
        registry.register(
            "engine_desired_replicas",
            "Replicas a model's engines should have, for HPAs of mode ThroughHPA",
            self.engine_desired_replicas.clone(),
        );
        registry.register(
            "engine_forecast_requests_per_second",
            "Arrivals expected when an engine ordered now is Ready",
            self.engine_forecast.clone(),
        );
        registry.register("autoscaler_decisions", "Decisions by their binding reason", self.decisions.clone());
        registry.register(
            "autoscaler_capacity_requests_per_replica",
            "Learned requests at once that a replica carries within the objective",
            self.capacity.clone(),
        );
        registry.register("autoscaler_startup_seconds", "Learned seconds from order to Ready", self.startup.clone());
        registry.register(
            "autoscaler_demand_replicas",
            "Replicas that would be busy if no request had to wait",
            self.demand.clone(),
        );
        registry.register(
            "autoscaler_forecast_demand_replicas",
            "Quantiles of the largest demand within the next start-up time",
            self.forecast.clone(),
        );
        registry.register(
            "autoscaler_forecast_coverage_ratio",
            "Share of the forecasts so far whose quantile held",
            self.forecast_coverage.clone(),
        );
        registry.register(
            "autoscaler_regret_ratio",
            "Engine time beyond that of a plan that knows the future and misses nothing, over the latter, in the last seven seasons",
            self.regret.clone(),
        );
        registry.register(
            "autoscaler_missed_demand_ratio",
            "Share of the demand that found no replica in time, in the last seven seasons",
            self.missed.clone(),
        );
        registry.register(
            "autoscaler_observation_age_seconds",
            "Age of the oldest reading the last decision rests on",
            self.observation_age.clone(),
        );
        registry.register("autoscaler_leader", "1 while this process holds the lease", self.leader.clone());
    }

    /// Shows a decision.
    pub fn record(
        &self,
        model: &ModelLabels,
        object: &ObjectLabels,
        decision: &Decision,
        current: u32,
        observation_age_seconds: f64,
    ) {
        self.engine_desired_replicas.get_or_create(model).set(i64::from(decision.replicas));
        if let Some(forecast) = decision.demand.forecast_per_second {
            self.engine_forecast.get_or_create(model).set(forecast);
        }
        self.replicas_desired.get_or_create(object).set(i64::from(decision.replicas));
        self.replicas_current.get_or_create(object).set(i64::from(current));
        self.replicas_ready.get_or_create(object).set(i64::from(decision.observed.ready));
        self.unobserved.get_or_create(object).set(i64::from(decision.observed.unobserved));
        if let Some(tier) = &decision.standby {
            self.asleep.get_or_create(object).set(i64::from(tier.standby.asleep));
        }
        self.capacity.get_or_create(object).set(decision.capacity.requests);
        self.observation_age.get_or_create(object).set(observation_age_seconds);
        for (quantile, seconds) in [("0.5", decision.startup.p50_seconds), ("0.95", decision.startup.p95_seconds)] {
            self.startup.get_or_create(&quantile_labels(object, quantile)).set(seconds);
        }
        self.demand.get_or_create(object).set(decision.demand.replicas);
        if let Some(plan) = &decision.plan {
            set_quantiles(&self.forecast, object, plan.forecast.quantiles);
        }
        if let Some(coverage) = decision.forecast_coverage.filter(|coverage| coverage.judged > 0) {
            let share = |covered: u64| covered as f64 / coverage.judged as f64;
            set_quantiles(&self.forecast_coverage, object, coverage.covered.map(share));
        }
        if let Some(score) = &decision.score {
            self.missed.get_or_create(object).set(score.missed_share());
            if let Some(regret) = score.regret_ratio() {
                self.regret.get_or_create(object).set(regret);
            }
        }
        if let Some(headline) = decision.headline() {
            let labels = ReasonLabels {
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                reason: headline.reason,
            };
            self.decisions.get_or_create(&labels).inc();
        }
    }

    /// Takes away what is shown of an object. Counters stay: they would otherwise start again.
    pub fn forget(&self, model: &ModelLabels, object: &ObjectLabels) {
        self.engine_desired_replicas.remove(model);
        self.engine_forecast.remove(model);
        let counts = [&self.replicas_desired, &self.replicas_current, &self.replicas_ready];
        for family in counts.into_iter().chain([&self.unobserved, &self.asleep]) {
            family.remove(object);
        }
        for family in [&self.capacity, &self.observation_age, &self.demand, &self.regret, &self.missed] {
            family.remove(object);
        }
        for family in [&self.startup, &self.forecast, &self.forecast_coverage] {
            for quantile in QUANTILES {
                family.remove(&quantile_labels(object, quantile));
            }
        }
    }

    /// Shows whether this process leads. One that does not shows no wish: two would contradict each other.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            self.engine_desired_replicas.clear();
            self.engine_forecast.clear();
            let counts = [&self.replicas_desired, &self.replicas_current, &self.replicas_ready];
            for family in counts.into_iter().chain([&self.unobserved, &self.asleep]) {
                family.clear();
            }
            for family in [&self.capacity, &self.observation_age, &self.demand, &self.regret, &self.missed] {
                family.clear();
            }
            for family in [&self.startup, &self.forecast, &self.forecast_coverage] {
                family.clear();
            }
        }
    }
}
