//! Simulators of a fleet of engines, the policies that are compared, and the clairvoyant optimum.
//!
//! ```text
//! requests ─▶ demand (replicas needed in each step) ─▶ optimum          what foresight would cost
//!                                                   ─▶ fluid            a policy against the demand, seconds per fortnight
//! requests ─▶ events                                                    a policy against every single request
//! policy ─▶ Signals in, replicas out: baselines, and our own `autoscaler_plan::decide`
//! ```
//!
//! What it does not do: it reads no files and no clock; randomness comes from seeds.

pub mod baselines;
pub mod bootstrap;
mod demand;
pub mod events;
pub mod fluid;
pub mod optimum;
mod policy;
mod request;
mod score;
mod startup;
pub mod window;

pub use demand::{Demand, EngineProfile};
pub use policy::{Policy, Replica, ReplicaLoad, Signals, Task};
pub use request::{Request, RequestSource};
pub use score::{Coverage, Discipline, Level, Outcome, Quantiles};
pub use startup::{Faults, SettingError, Start, Starter, StartupLaw, Stretch};
