//! The discrete-event simulator: a policy against every single request in every engine.
//!
//! ```text
//! source ─▶ arrivals ─▶ queue ─▶ fleet (route, start up, drain, bill) ─▶ engines: leaping | stepping (with blocks)
//!                                  ▲                                        │ first tokens, answers
//!             policy ─▶ replicas ──┘      monitor (scrapes) ◀───────────────┴─▶ outcome
//! ```
//!
//! `run` holds the loop; `replay` feeds one engine alone. The two engines follow the batch rules of vLLM's scheduler as
//! the engine emulator has them; without a prefix cache they agree step for step, so the fast one needs no error bars.
//!
//! What it does not do: tenants, priorities, split prefill and decode, engines that crash while they serve, and clients
//! that give up before the router does.

mod arrivals;
mod blocks;
mod clock;
mod engine;
mod fleet;
mod histogram;
mod leaping;
mod monitor;
mod outcome;
mod queue;
mod replay;
mod run;
mod settings;
mod stages;
mod stepping;
#[cfg(test)]
mod tests;

pub use outcome::{EventRun, Sample};
pub use replay::{Answer, Replay, replay};
pub use run::simulate;
pub use settings::{EngineKind, Friction, Retries, Routing, Scrape, Settings, WarmUp};
pub use stages::{Lengths, Stage, Stages, llmd_ramp};
