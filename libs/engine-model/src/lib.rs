//! The performance model of an LLM engine: how long one step of continuous batching takes, what a replica can carry.
//!
//! Data flow: [`StepTime`] (four fitted parameters of a model on its GPUs) gives the duration of one [`Batch`];
//! over a [`Workload`] (mean prompt and answer) that becomes the step time `T(n)` at a concurrency `n`, and with the
//! KV cache's [`Limits`] and a latency [`Objective`] the [`Capacity`] of a replica. [`fit`] finds the parameters from
//! measured latencies, and [`preset`] names some that were.
//!
//! One set of formulas serves the engine emulator (step by step), the simulator and the capacity planner (in the mean).
//!
//! What it does not do: it reads no clock and keeps no state; queueing between requests, preemption and the prefix
//! cache are the business of whoever steps it. It models one engine (all its GPUs together), not its parts.

mod capacity;
mod fit;
mod least_squares;
mod preset;
mod step;

pub use capacity::{Capacity, Limit, Limits, Objective, Workload, capacity, ttft_seconds};
pub use fit::{Fit, FitError, LEAST_STEPS, Observation, Prior, fit};
pub use preset::{Preset, preset, presets};
pub use step::{Batch, ModelError, StepTime};
