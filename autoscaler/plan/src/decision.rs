//! What was decided and why, as data: status, events, metrics, logs and pages are rendered from it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::capacity::Capacity;
use crate::planner::Planned;
use crate::score::Score;
use crate::standby::StandbyTier;
use crate::startup::Startup;

/// The outcome of one decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Replicas the target should have now.
    pub replicas: u32,
    /// Replicas the load asks for, before holds, stabilisation and limits.
    pub wanted: u32,
    /// Why, the binding reason first.
    pub because: Vec<Reason>,
    /// The load it was decided on.
    pub demand: Demand,
    /// The plan over the start-up time; `None` in the first 24th of a season.
    pub plan: Option<Planned>,
    /// What a replica carries.
    pub capacity: Capacity,
    /// How long a replica takes from order to Ready.
    pub startup: Startup,
    /// Engines that sleep, and how long waking one takes; `None` where none ever does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyTier>,
    /// Replicas on their way; `None` without any.
    #[serde(default)]
    pub credit: Option<Credit>,
    /// Share of the demand that the objective allows to be missed, 0 to 1.
    pub allowed_missed_share: f64,
    /// How often the forecast's quantiles held; `None` before the first was judged.
    #[serde(default)]
    pub forecast_coverage: Option<ForecastCoverage>,
    /// What was paid against the clairvoyant optimum; `None` in the first start-up time.
    #[serde(default)]
    pub score: Option<Score>,
    /// What was seen and what was not.
    pub observed: Observed,
}

impl Decision {
    /// Whether minimum, maximum, a rate or the pool kept the replicas from what the load asks for.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.because.iter().any(|reason| reasons::LIMITS.contains(&reason.reason))
    }

    /// Whether the decision could rest on complete data.
    #[must_use]
    pub fn has_complete_metrics(&self) -> bool {
        self.observed.unobserved == 0 && self.observed.routers_silent == 0
    }

    /// Whether nothing at all was heard from a fleet that should answer.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.because.iter().any(|r| r.reason == reasons::METRICS_SILENT)
    }

    /// Replicas of `present` ones that are kept though fewer are wanted: a dip, a start that is about to end.
    #[must_use]
    pub fn kept(&self, present: u32) -> u32 {
        if self.replicas > self.wanted { self.replicas.min(present) } else { 0 }
    }

    /// Whether what was ordered does not come: a stock-out, or engines that crash. Only what is Ready is counted on then.
    pub(crate) fn is_stuck(&self) -> bool {
        self.credit.is_some_and(|credit| credit.starting > 0 && credit.first_ready_seconds <= 0.0)
    }

    /// The binding reason: the one line that `kubectl get eas` shows.
    #[must_use]
    pub fn headline(&self) -> Option<&Reason> {
        self.because.first()
    }
}

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// CamelCase name, one of [`reasons`].
    pub reason: &'static str,
    /// The reason in words.
    pub message: String,
    /// The number behind it.
    pub value: f64,
}

impl Reason {
    pub(crate) fn new(reason: &'static str, value: f64, message: String) -> Self {
        Self { reason, message, value }
    }
}

// By hand, since a name that was read is one of those that this program has, and another comes from another version.
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            reason: String,
            message: String,
            value: f64,
        }
        let Written { reason, message, value } = Written::deserialize(deserializer)?;
        match reasons::ALL.into_iter().find(|known| *known == reason) {
            Some(reason) => Ok(Self { reason, message, value }),
            None => Err(serde::de::Error::custom(format!("`{reason}` is no reason that this version knows"))),
        }
    }
}

/// The names of all reasons.
pub mod reasons {
    /// Requests in service and waiting, over what a replica carries, ask for this number.
    pub const DEMAND: &str = "Demand";
    /// There is no plan yet: what arrives, and room for what nothing foresees, ask for this number.
    pub const UNFORESEEN: &str = "Unforeseen";
    /// The plan over the start-up time asks for this number.
    pub const FORECAST: &str = "Forecast";
    /// No request is in service or waits.
    pub const NO_TRAFFIC: &str = "NoTraffic";
    /// A schedule asks for this number, now or from one start-up time on.
    pub const SCHEDULE: &str = "Schedule";
    /// Requests wait; replicas that start and the free slots of the Ready ones are credited.
    pub const BACKLOG: &str = "Backlog";
    /// Replicas were ordered and start.
    pub const STARTING: &str = "Starting";
    /// Engines are asleep: the next ones are woken instead of started.
    pub const STANDBY: &str = "Standby";
    /// Fewer are wanted, and the engines that start would be the first to go: they are waited for.
    pub const AWAITING_STARTS: &str = "AwaitingStarts";
    /// More was wanted within the stabilisation window.
    pub const STABILIZING: &str = "Stabilizing";
    /// Engines that should answer do not: no scale-down.
    pub const ENGINES_UNOBSERVED: &str = "EnginesUnobserved";
    /// A router replica does not answer: no scale-down.
    pub const ROUTER_UNOBSERVED: &str = "RouterUnobserved";
    /// Neither an engine nor a router was heard: the replicas stay.
    pub const METRICS_SILENT: &str = "MetricsSilent";
    /// Replicas are ordered, but no engine exists.
    pub const NO_ENGINES: &str = "NoEngines";
    /// Engines do not export vLLM's metrics: they are scaled by what the router sees.
    pub const ROUTER_VIEW_ONLY: &str = "RouterViewOnly";
    /// The latency objective is missed even at one request at a time: more replicas cannot help it.
    pub const OBJECTIVE_OUT_OF_REACH: &str = "ObjectiveOutOfReach";
    /// Zero replicas would need a router that holds requests.
    pub const ZERO_NEEDS_ROUTER: &str = "ZeroNeedsRouter";
    /// More is wanted than `maxReplicas`.
    pub const LIMITED_BY_MAX: &str = "LimitedByMax";
    /// Less is wanted than `minReplicas`.
    pub const LIMITED_BY_MIN: &str = "LimitedByMin";
    /// More is wanted than `scaleUp.maxReplicasPerMinute` lets be ordered now.
    pub const LIMITED_BY_SCALE_UP_RATE: &str = "LimitedByScaleUpRate";
    /// Less is wanted than `scaleDown.maxReplicasPerMinute` lets be released now.
    pub const LIMITED_BY_SCALE_DOWN_RATE: &str = "LimitedByScaleDownRate";
    /// Others on the same GPUs come first: fewer are given than wanted.
    pub const LIMITED_BY_POOL: &str = "LimitedByPool";
    /// Others on the same GPUs come first: some of what is there is given up for them.
    pub const YIELDED_TO_POOL: &str = "YieldedToPool";
    /// GPUs are granted, and others still hold them.
    pub const WAITING_FOR_POOL: &str = "WaitingForPool";
    /// Other variants of the model carry some of its share for less, or it carries some of theirs.
    pub const LEAST_PRICE: &str = "LeastPrice";
    /// Others take its place and are not Ready yet: it serves on.
    pub const SERVES_UNTIL_OTHERS: &str = "ServesUntilOthers";
    /// The other tier of the model can have less than it wants: no more is ordered than keeps up with it.
    pub const LIMITED_BY_TIER: &str = "LimitedByTier";
    /// Nothing asks for a replica, but the other tier of the model is not at zero: neither serves without the other.
    pub const AWAKE_WITH_TIER: &str = "AwakeWithTier";
    /// The other tier of the model is not there, or cannot be decided on: this one is decided on alone.
    pub const TIER_ALONE: &str = "TierAlone";
    /// The plan contradicts itself: the replicas stay.
    pub const PLAN_REFUSED: &str = "PlanRefused";
    /// Decisions are made and not acted on.
    pub const PAUSED: &str = "Paused";

    /// Those that say that a limit kept the replicas from what the load asks for.
    pub const LIMITS: [&str; 7] = [
        LIMITED_BY_MAX,
        LIMITED_BY_MIN,
        LIMITED_BY_SCALE_UP_RATE,
        LIMITED_BY_SCALE_DOWN_RATE,
        LIMITED_BY_POOL,
        YIELDED_TO_POOL,
        LIMITED_BY_TIER,
    ];

    /// Every reason, for documentation and for metric labels that are there from the start.
    pub const ALL: [&str; 31] = [
        DEMAND,
        UNFORESEEN,
        NO_TRAFFIC,
        FORECAST,
        SCHEDULE,
        BACKLOG,
        STARTING,
        STANDBY,
        AWAITING_STARTS,
        STABILIZING,
        ENGINES_UNOBSERVED,
        ROUTER_UNOBSERVED,
        METRICS_SILENT,
        NO_ENGINES,
        ROUTER_VIEW_ONLY,
        OBJECTIVE_OUT_OF_REACH,
        ZERO_NEEDS_ROUTER,
        LIMITED_BY_MAX,
        LIMITED_BY_MIN,
        LIMITED_BY_SCALE_UP_RATE,
        LIMITED_BY_SCALE_DOWN_RATE,
        LIMITED_BY_POOL,
        YIELDED_TO_POOL,
        WAITING_FOR_POOL,
        LEAST_PRICE,
        SERVES_UNTIL_OTHERS,
        LIMITED_BY_TIER,
        AWAKE_WITH_TIER,
        TIER_ALONE,
        PLAN_REFUSED,
        PAUSED,
    ];
}

/// The load a decision rests on. Requests are counted once where engine and router both see them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Requests being served, at this moment.
    pub in_service: f64,
    /// Requests that wait in engines and routers, at this moment.
    pub waiting: f64,
    /// Replicas that the requests in service would fill if none had to wait.
    pub replicas: f64,
    /// Replicas that what is in service and waits now asks for, averaged over some seconds: the reactive floor.
    pub floor_replicas: f64,
    /// Arrivals per second; `None` until two observations told a rate.
    pub arrivals_per_second: Option<f64>,
    /// Requests per second that missed an objective since the last look; `None` if no router tells.
    pub late_per_second: Option<f64>,
    /// Arrivals per second expected when an engine ordered now is Ready.
    pub forecast_per_second: Option<f64>,
    /// Mean seconds a request is in service; `None` until enough of them ended.
    pub service_seconds: Option<f64>,
}

/// Replicas that were ordered and do not serve yet. The plan counts them from the time they will be Ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credit {
    /// Engines that start.
    pub starting: u32,
    /// Replicas ordered of which no engine exists.
    pub missing: u32,
    /// Seconds within which 95 % of starts as old as the oldest are Ready; 0 for one that is overdue.
    pub first_ready_seconds: f64,
    /// The same for the youngest.
    pub last_ready_seconds: f64,
}

/// How often the reported forecasts held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastCoverage {
    /// Forecasts whose time has come.
    pub judged: u64,
    /// Those of them that the median, the 80, 95 and 99 % quantile covered.
    pub covered: [u64; 4],
}

/// How much of the fleet was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Engines that are Ready.
    pub ready: u32,
    /// Engines that start.
    pub starting: u32,
    /// Engines that end their streams.
    pub draining: u32,
    /// Ready engines whose load is unknown.
    pub unobserved: u32,
    /// Router replicas that do not answer.
    pub routers_silent: u32,
}
