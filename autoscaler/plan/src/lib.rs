//! Pure decisions of the autoscaler: facts in, replicas and reasons out.
//!
//! ```text
//! Facts ─▶ startup   learn: decision → Ready, its upper quantile is the horizon
//!       ─▶ capacity  learn: requests at once that a replica carries within the objective
//!       ─▶ demand    what arrives, times how long it stays: replicas needed if nobody had to wait
//!       ─▶ planner   each plan step: forecast over the start-up time, what to order and release at which price
//!       ─▶ decide    plan or reactive floor, then limit, stabilise, hold ─▶ Decision { replicas, because }
//! ```
//!
//! The same function runs in the controller and in standalone mode. Time is an argument, and everything remembered from
//! one decision to the next is in [`State`], which the caller keeps (status of the object, or a file).
//!
//! What it does not do: it reads no clock, no network and no Kubernetes; it never assumes a control period of a second or
//! more.

mod capacity;
mod decide;
mod decision;
mod demand;
mod facts;
mod look;
mod planner;
mod startup;
mod state;

pub use autoscaler_forecast::{Rhythm, RhythmError};
pub use capacity::{Capacity, CapacitySource};
pub use decide::decide;
pub use decision::{Decision, Demand, Observed, Reason, reasons};
pub use facts::{
    DEFAULT_CAPACITY_PRIOR, EngineFacts, EngineSample, Facts, Milestones, Objective, Observation, Phase, Queue,
    RouterEngineView, RouterFacts, RouterObservation, RouterReplica, RouterSample, Settings, SumCount,
};
pub use planner::{Planned, Planner};
pub use startup::{STARTUP_PRIOR_SECONDS, Startup};
pub use state::{State, StateError};
