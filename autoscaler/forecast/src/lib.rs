//! What demand the next start-up times will bring, as a distribution.
//!
//! ```text
//! demand of each plan step ─▶ History ─▶ experts: recurring days, persistence ─▶ paths ─▶ Usage: expected use of each replica
//!                                        weighed by their record                       └▶ Forecast: quantiles of the maximum
//! ```
//!
//! Demand is in replicas and must be what arrives, not what is served: a full fleet serves no more than its size.
//! The policy is the one that was found to work on public traces: recurring days scaled by the present level, and the ups
//! and downs of the last day put onto the present level, mixed by how well each of them foresaw the maximum over a
//! start-up time.
//!
//! What it does not do: it knows no clock (a step is an index), no engines and no replicas that exist.

mod calibration;
mod experts;
mod forecaster;
mod history;
mod mixing;
mod rhythm;
mod usage;

pub use calibration::{Forecast, LEVELS};
pub use experts::ExpertKind;
pub use forecaster::{Forecaster, Record, SEASONS_KEPT};
pub use history::History;
pub use rhythm::{Rhythm, RhythmError};
pub use usage::Usage;
