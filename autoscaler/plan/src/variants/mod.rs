//! One model on unlike GPUs: each Deployment decides what its share of the requests needs, then all of them together say
//! which of them carry it at the least price.
//!
//! ```text
//! Decision of each ─▶ Part (wanted, capacity, price, start-up time)
//!        ─▶ cover   the replicas of each that carry all of it at the least price, starts included
//!        ─▶ hold    what is to go serves on while what takes its place starts ─▶ Grant { replicas, because }
//! ```

mod assign;
mod cover;

pub use assign::{Part, assign};
pub use cover::{Cover, Need, Variant, cover};
