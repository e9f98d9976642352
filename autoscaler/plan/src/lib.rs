//! Pure decisions of the autoscaler: facts in, replicas and reasons out.
//!
//! ```text
//! Facts ─▶ startup   learn: decision → Ready, its upper quantile is the horizon
//!       ─▶ standby   engines that sleep: a wake instead of a start, at a price
//!       ─▶ capacity  learn: requests at once that a replica carries within the objective
//!       ─▶ demand    what arrives, times how long it stays: replicas needed if nobody had to wait
//!       ─▶ planner   each plan step: forecast over the start-up time, what to order and release at which price
//!       ─▶ decide    plan or reactive floor, then limit, stabilise, hold ─▶ Decision { replicas, because }
//!       ─▶ check     what contradicts itself is refused, and the replicas stay
//!       ─▶ pool      several models on the same GPUs: decisions in, what each gets of them out
//!       ─▶ variants  one model on unlike GPUs: decisions in, the replicas of each at the least price out
//!       ─▶ tiers     prefill and decode on engines of their own: decisions in, what keeps up with the other out
//! ```
//!
//! The same function runs in the controller and in standalone mode. Time is an argument, and everything remembered from
//! one decision to the next is in [`State`], which the caller keeps (status of the object, or a file).
//!
//! What it does not do: it reads no clock, no network and no Kubernetes; it never assumes a control period of a second or
//! more.

mod capacity;
mod check;
mod decide;
mod decision;
mod demand;
mod demand_history;
mod explain;
mod facts;
mod log;
mod look;
mod past;
mod planner;
mod pool;
mod rate;
mod schedule;
mod score;
mod standby;
mod startup;
mod state;
mod tiers;
mod variants;

pub use autoscaler_forecast::{Rhythm, RhythmError};
pub use capacity::{Capacity, CapacitySource};
pub use check::{Contradiction, check_decision, check_division};
pub use decide::decide;
pub use decision::{Credit, Decision, Demand, ForecastCoverage, Observed, Reason, reasons};
pub use demand_history::DemandHistory;
pub use explain::Term;
pub use facts::{
    DEFAULT_CAPACITY_PRIOR, EngineFacts, EngineSample, Facts, Milestones, Objective, Observation, Phase, Queue,
    RouterEngineView, RouterFacts, RouterObservation, RouterReplica, RouterSample, Settings, SumCount,
};
pub use log::{LOG_VERSION, LogError, LogRecord};
pub use past::{Past, ReplicaUnits};
pub use planner::{Planned, Planner, Rehearsed};
pub use pool::{Claim, Grant, LayerUse, Pool, PoolTerms, divide};
pub use rate::RateLimits;
pub use schedule::ScheduledFloor;
pub use score::Score;
pub use standby::{Standby, StandbyTier};
pub use startup::{STARTUP_PRIOR_SECONDS, Startup, WAKE_PRIOR_SECONDS};
pub use state::{State, StateError};
pub use tiers::{Tier, TierPart, alone, couple};
pub use variants::{Cover, Need, Part, Variant, assign, cover};
