//! Every metric the router exports, and the handles that requests update without looking labels up.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use engines::handover::ServedObjective;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::queue::QueueMetrics;

/// Label value for requests whose model nobody serves: names from outside must not make series.
pub const OTHER: &str = "other";

/// From a cached prompt on an idle engine (or an engine that runs faster than life) to past the queue deadline.
const TTFT_SECONDS: &[f64] = &[
    0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0,
    20.0, 30.0, 60.0,
];
/// From speculative bursts to an engine that preempts.
const INTER_TOKEN_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];
/// From a tokenize call to a long generation.
const DURATION_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// From not at all to the default deadline and beyond.
const QUEUE_WAIT_SECONDS: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabel {
    model_name: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodeLabel {
    model_name: Arc<str>,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PairLabel {
    model_name: Arc<str>,
    engine: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabel {
    model_name: Arc<str>,
    engine: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RetryLabel {
    model_name: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

type Histograms<L> = Family<L, Histogram, Buckets>;

/// All metric families. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    queue_depth: Family<ModelLabel, Gauge>,
    queue_late: Family<ModelLabel, Gauge>,
    queue_overtakes: Family<ModelLabel, Counter>,
    in_flight: Family<PairLabel, Gauge>,
    received: Family<ModelLabel, Counter>,
    answered: Family<CodeLabel, Counter>,
    disconnects: Family<ModelLabel, Counter>,
    late: Family<ModelLabel, Counter>,
    slow: Family<ModelLabel, Counter>,
    time_to_first_token: Histograms<PairLabel>,
    inter_token_latency: Histograms<PairLabel>,
    duration: Histograms<PairLabel>,
    queue_wait: Histograms<ModelLabel>,
    upstream_errors: Family<ErrorLabel, Counter>,
    retries: Family<RetryLabel, Counter>,
    engines: Family<StateLabel, Gauge>,
    objective_ttft: Family<ModelLabel, Gauge<f64, AtomicU64>>,
    objective_inter_token: Family<ModelLabel, Gauge<f64, AtomicU64>>,
    /// Generation of the list of engines that is applied.
    pub engines_generation: Gauge,
    /// 1 while the list of engines could be read at the last try.
    pub engines_list_good: Gauge,
    /// 1 while the configuration file could be used at the last try.
    pub config_good: Gauge,
}

/// What requests for one model update.
#[derive(Debug)]
pub struct ModelMetrics {
    /// Requests admitted.
    pub received: Counter,
    /// What its queue shows.
    pub queue: QueueMetrics,
    /// Time spent waiting, 0 for those that did not wait.
    pub queue_wait: Histogram,
    /// Clients that left before the end of their answer.
    pub disconnects: Counter,
    /// Answers with status 200, the usual ones.
    ok: Counter,
}

/// What requests for one model on one engine update.
#[derive(Debug)]
pub struct PairMetrics {
    /// Requests the engine holds.
    pub in_flight: Gauge,
    /// Admission to first event of a stream.
    pub time_to_first_token: Histogram,
    /// Time between events of a stream.
    pub inter_token_latency: Histogram,
    /// Admission to end of the answer.
    pub duration: Histogram,
}

impl Metrics {
    /// Makes the families and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            queue_depth: Family::default(),
            queue_late: Family::default(),
            queue_overtakes: Family::default(),
            in_flight: Family::default(),
            received: Family::default(),
            answered: Family::default(),
            disconnects: Family::default(),
            late: Family::default(),
            slow: Family::default(),
            time_to_first_token: Family::new_with_constructor(Buckets(TTFT_SECONDS)),
            inter_token_latency: Family::new_with_constructor(Buckets(INTER_TOKEN_SECONDS)),
            duration: Family::new_with_constructor(Buckets(DURATION_SECONDS)),
            queue_wait: Family::new_with_constructor(Buckets(QUEUE_WAIT_SECONDS)),
            upstream_errors: Family::default(),
            retries: Family::default(),
            engines: Family::default(),
            objective_ttft: Family::default(),
            objective_inter_token: Family::default(),
            engines_generation: Gauge::default(),
            engines_list_good: Gauge::default(),
            config_good: Gauge::default(),
        };
        metrics.config_good.set(1);
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register("router_queue_depth", "Requests waiting for any engine", self.queue_depth.clone());
        r.register(
            "router_queue_late",
            "Requests waiting that cannot meet the objective any more",
            self.queue_late.clone(),
        );
        r.register(
            "router_queue_overtakes",
            "Requests that got an engine while an older one waited",
            self.queue_overtakes.clone(),
        );
        r.register("router_requests_in_flight", "Requests an engine holds", self.in_flight.clone());
        r.register("router_requests_received", "Requests admitted", self.received.clone());
        r.register(
            "router_requests",
            "Requests answered, by status; 499: the client left first",
            self.answered.clone(),
        );
        r.register(
            "router_requests_late",
            "Requests that missed the objective of time to first token, or found no engine; only of models with an objective",
            self.late.clone(),
        );
        r.register(
            "router_requests_slow",
            "Streams in time whose events then came more slowly in the mean than the objective between tokens; only of models with one",
            self.slow.clone(),
        );
        r.register(
            "router_client_disconnects",
            "Clients that left before the end of their answer",
            self.disconnects.clone(),
        );
        r.register(
            "router_time_to_first_token_seconds",
            "Admission to first event of a streamed answer, waiting included",
            self.time_to_first_token.clone(),
        );
        r.register(
            "router_inter_token_latency_seconds",
            "Time between events of a streamed answer",
            self.inter_token_latency.clone(),
        );
        r.register(
            "router_request_duration_seconds",
            "Admission to the last byte of the answer",
            self.duration.clone(),
        );
        r.register("router_queue_wait_seconds", "Time a request waited for an engine", self.queue_wait.clone());
        r.register("router_upstream_errors", "Failures of engines, by reason", self.upstream_errors.clone());
        r.register(
            "router_retries",
            "Requests sent to another engine before the first byte, by reason",
            self.retries.clone(),
        );
        r.register("router_engines", "Engines by state", self.engines.clone());
        r.register(
            "router_engines_generation",
            "Generation of the applied list of engines",
            self.engines_generation.clone(),
        );
        r.register(
            "router_engines_list_good",
            "1 if the list of engines could be read at the last try",
            self.engines_list_good.clone(),
        );
        r.register(
            "router_config_good",
            "1 if the configuration file could be used at the last try",
            self.config_good.clone(),
        );
        r.register(
            "router_objective_time_to_first_token_seconds",
            "Time to first token that the model's users were promised",
            self.objective_ttft.clone(),
        );
        r.register(
            "router_objective_inter_token_latency_seconds",
            "Mean time between two tokens of one answer that the model's users were promised",
            self.objective_inter_token.clone(),
        );
    }

    /// Handles for a model; makes its series, so that an idle queue is 0 and not absent.
    pub fn model(&self, name: &Arc<str>) -> ModelMetrics {
        let label = ModelLabel { model_name: name.clone() };
        ModelMetrics {
            received: self.received.get_or_create_owned(&label),
            queue: QueueMetrics {
                depth: self.queue_depth.get_or_create_owned(&label),
                late: self.queue_late.get_or_create_owned(&label),
                overtakes: self.queue_overtakes.get_or_create_owned(&label),
            },
            queue_wait: self.queue_wait.get_or_create_owned(&label),
            disconnects: self.disconnects.get_or_create_owned(&label),
            ok: self.answered.get_or_create_owned(&CodeLabel { model_name: name.clone(), code: 200 }),
        }
    }

    /// Handles for a model on an engine.
    pub fn pair(&self, model: &Arc<str>, engine: &Arc<str>) -> PairMetrics {
        let label = PairLabel { model_name: model.clone(), engine: engine.clone() };
        PairMetrics {
            in_flight: self.in_flight.get_or_create_owned(&label),
            time_to_first_token: self.time_to_first_token.get_or_create_owned(&label),
            inter_token_latency: self.inter_token_latency.get_or_create_owned(&label),
            duration: self.duration.get_or_create_owned(&label),
        }
    }

    /// Drops the series of a model on an engine that is gone.
    pub fn forget_pair(&self, model: &Arc<str>, engine: &Arc<str>) {
        let label = PairLabel { model_name: model.clone(), engine: engine.clone() };
        self.in_flight.remove(&label);
        self.time_to_first_token.remove(&label);
        self.inter_token_latency.remove(&label);
        self.duration.remove(&label);
        for reason in crate::setback::REASONS {
            self.upstream_errors.remove(&ErrorLabel { model_name: model.clone(), engine: engine.clone(), reason });
        }
    }

    /// Counts an answer.
    pub fn answered(&self, name: &Arc<str>, model: &ModelMetrics, code: u16) {
        if code == 200 {
            model.ok.inc();
        } else {
            self.answered.get_or_create(&CodeLabel { model_name: name.clone(), code }).inc();
        }
    }

    /// Counts a request of a model with an objective that missed it.
    pub fn late(&self, name: &Arc<str>) {
        self.late.get_or_create(&ModelLabel { model_name: name.clone() }).inc();
    }

    /// Counts a stream of a model with an objective between tokens that came more slowly in the mean.
    pub fn slow(&self, name: &Arc<str>) {
        self.slow.get_or_create(&ModelLabel { model_name: name.clone() }).inc();
    }

    /// Counts a request that was refused before its model was known.
    pub fn refused_unknown(&self, code: u16) {
        let name: Arc<str> = OTHER.into();
        self.received.get_or_create(&ModelLabel { model_name: name.clone() }).inc();
        self.answered.get_or_create(&CodeLabel { model_name: name, code }).inc();
    }

    /// Counts a failure of an engine.
    pub fn upstream_error(&self, model: &Arc<str>, engine: &Arc<str>, reason: &'static str) {
        let label = ErrorLabel { model_name: model.clone(), engine: engine.clone(), reason };
        self.upstream_errors.get_or_create(&label).inc();
    }

    /// Counts a request that goes to another engine.
    pub fn retry(&self, model: &Arc<str>, reason: &'static str) {
        self.retries.get_or_create(&RetryLabel { model_name: model.clone(), reason }).inc();
    }

    /// Shows how many engines are in a state.
    pub fn engines(&self, state: &'static str, count: usize) {
        self.engines.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Shows a model's objective, or that it has none any more.
    pub fn objective(&self, model: &Arc<str>, objective: Option<ServedObjective>) {
        let label = ModelLabel { model_name: model.clone() };
        let show = |family: &Family<ModelLabel, Gauge<f64, AtomicU64>>, seconds: Option<f64>| match seconds {
            Some(seconds) => drop(family.get_or_create(&label).set(seconds)),
            None => drop(family.remove(&label)),
        };
        show(&self.objective_ttft, objective.map(|objective| objective.ttft_seconds));
        show(&self.objective_inter_token, objective.and_then(|objective| objective.inter_token_latency_seconds));
        // From the first look on 0 and not absent: who reads it tells "none late" from "not told".
        let count = |family: &Family<ModelLabel, Counter>, is_promised: bool| match is_promised {
            true => drop(family.get_or_create(&label)),
            false => drop(family.remove(&label)),
        };
        count(&self.late, objective.is_some());
        count(&self.slow, objective.is_some_and(|objective| objective.inter_token_latency_seconds.is_some()));
    }
}
