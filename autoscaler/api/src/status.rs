//! What the controller writes back, all of it rendered from one decision.

use autoscaler_plan::{Decision, Reason, Term};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of the conditions.
pub mod conditions {
    /// The object is valid, its target exists, and decisions are made.
    pub const READY: &str = "Ready";
    /// Engines and routers were all observed.
    pub const METRICS_AVAILABLE: &str = "MetricsAvailable";
    /// Nothing else scales the target.
    pub const TARGET_OWNED: &str = "TargetOwned";
    /// Minimum or maximum keep the replicas from what the load asks for.
    pub const LIMITED: &str = "Limited";
    /// The plan was told of the past; only where a Prometheus is configured.
    pub const HISTORY_READ: &str = "HistoryRead";
}

/// State of an EngineAutoscaler, written on change or each 60 s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineAutoscalerStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Replicas the target is told to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i32>,
    /// Engines that are Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The binding reason of the last decision, or of the failure to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Ready, MetricsAvailable, TargetOwned, Limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last decision and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<LastDecision>,
    /// Learned capacity of a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,
    /// Learned start-up time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<StartupStatus>,
    /// The largest demand expected within the next start-up time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastStatus>,
    /// What was paid against the clairvoyant optimum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<RegretStatus>,
    /// What the next leader continues from. Not for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// A condition, as Kubernetes' API conventions have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// CamelCase word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When the status changed last, RFC 3339.
    pub last_transition_time: String,
    /// Generation of the spec it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The last decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastDecision {
    /// When, RFC 3339.
    pub at: String,
    /// Replicas decided on.
    pub replicas: i32,
    /// Replicas the load asked for, before holds and limits.
    pub wanted: i32,
    /// Why, the binding reason first.
    pub because: Vec<ReasonStatus>,
    /// What it rests on, term by term, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<TermStatus>,
    /// Requests in service.
    pub in_service: f64,
    /// Requests waiting in engines and routers.
    pub waiting: f64,
    /// Arrivals per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals_per_second: Option<f64>,
    /// Arrivals per second expected when an engine ordered now is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast_per_second: Option<f64>,
    /// Mean seconds a request is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_seconds: Option<f64>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonStatus {
    /// CamelCase word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The number behind it.
    pub value: f64,
}

/// One term of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TermStatus {
    /// binding, forecast, startup, capacity, credit, price, budget or score.
    pub term: String,
    /// In words.
    pub words: String,
}

/// Quantiles of the largest demand within the next start-up time, in replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastStatus {
    /// Median.
    pub p50_replicas: f64,
    /// 80 % quantile.
    pub p80_replicas: f64,
    /// 95 % quantile.
    pub p95_replicas: f64,
    /// 99 % quantile.
    pub p99_replicas: f64,
    /// Shares of the forecasts so far that these quantiles covered, 0 to 1, in the same order; empty before the first was
    /// judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<f64>,
}

/// What was paid against the clairvoyant optimum, in the last seven seasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegretStatus {
    /// Engine time beyond that of a plan that knows the future and misses nothing, over the latter; below 0 for less.
    pub ratio: f64,
    /// Share of the demand that found no replica in time, 0 to 1.
    pub missed_share: f64,
    /// Seconds that this is about.
    pub seconds: f64,
}

/// Learned capacity of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Requests at once that a replica carries within the objective.
    pub requests_per_replica: f64,
    /// What sets the number.
    pub set_by: String,
}

/// Learned start-up time, from order to Ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartupStatus {
    /// Median, in seconds.
    pub p50_seconds: f64,
    /// 95 % quantile, in seconds: how far ahead the plan looks.
    pub p95_seconds: f64,
    /// Starts it was learned from; 0 means prior or override.
    pub samples: i32,
}

impl EngineAutoscalerStatus {
    /// Takes a decision in; conditions and memory are the caller's.
    pub fn record(&mut self, decision: &Decision, current_replicas: u32, now: Timestamp) {
        self.desired_replicas = Some(count(decision.replicas));
        self.current_replicas = Some(count(current_replicas));
        self.ready_replicas = Some(count(decision.observed.ready));
        if let Some(headline) = decision.headline() {
            self.reason = Some(headline.reason.to_owned());
            self.message = Some(headline.message.clone());
        }
        self.last_decision = Some(LastDecision {
            at: seconds_text(now),
            replicas: count(decision.replicas),
            wanted: count(decision.wanted),
            because: decision.because.iter().map(ReasonStatus::from).collect(),
            terms: decision.terms().into_iter().map(TermStatus::from).collect(),
            in_service: round(decision.demand.in_service),
            waiting: round(decision.demand.waiting),
            arrivals_per_second: decision.demand.arrivals_per_second.map(round),
            forecast_per_second: decision.demand.forecast_per_second.map(round),
            service_seconds: decision.demand.service_seconds.map(round),
        });
        self.capacity = Some(CapacityStatus {
            requests_per_replica: round(decision.capacity.requests),
            set_by: decision.capacity.source.as_words().to_owned(),
        });
        self.startup = Some(StartupStatus {
            p50_seconds: round(decision.startup.p50_seconds),
            p95_seconds: round(decision.startup.p95_seconds),
            samples: count(decision.startup.samples),
        });
        self.forecast = ForecastStatus::of(decision);
        self.regret = decision.score.as_ref().and_then(|score| {
            let ratio = round(score.regret_ratio()?);
            Some(RegretStatus { ratio, missed_share: fine(score.missed_share()), seconds: score.seconds.round() })
        });
    }

    /// Sets a condition; its transition time moves only when its status changes.
    pub fn set_condition(
        &mut self,
        type_: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        generation: Option<i64>,
        now: Timestamp,
    ) {
        let previous = self.conditions.iter().find(|condition| condition.type_ == type_);
        let unchanged = previous.filter(|condition| condition.status == status);
        let since = unchanged.map_or_else(|| seconds_text(now), |condition| condition.last_transition_time.clone());
        let condition = Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.into(),
            last_transition_time: since,
            observed_generation: generation,
        };
        match self.conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(slot) => *slot = condition,
            None => self.conditions.push(condition),
        }
    }

    /// A condition by name.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl ForecastStatus {
    fn of(decision: &Decision) -> Option<Self> {
        let [p50_replicas, p80_replicas, p95_replicas, p99_replicas] =
            decision.plan.as_ref()?.forecast.quantiles.map(round);
        let judged = decision.forecast_coverage.filter(|coverage| coverage.judged > 0);
        let coverage = judged.map(|all| all.covered.map(|held| round(held as f64 / all.judged as f64)).to_vec());
        let coverage = coverage.unwrap_or_default();
        Some(Self { p50_replicas, p80_replicas, p95_replicas, p99_replicas, coverage })
    }
}

impl From<Term> for TermStatus {
    fn from(Term { term, words }: Term) -> Self {
        Self { term: term.to_owned(), words }
    }
}

impl From<&Reason> for ReasonStatus {
    fn from(reason: &Reason) -> Self {
        Self { reason: reason.reason.to_owned(), message: reason.message.clone(), value: round(reason.value) }
    }
}

/// Kubernetes counts in `int32`.
fn count(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}

/// Three digits: more would make every status a change.
fn round(value: f64) -> f64 {
    if value.is_finite() { (value * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// Shares of misses need more digits: an objective may be 99.99 %.
fn fine(share: f64) -> f64 {
    if share.is_finite() { (share * 1e6).round() / 1e6 } else { 0.0 }
}

/// Whole seconds, as Kubernetes writes times.
fn seconds_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
