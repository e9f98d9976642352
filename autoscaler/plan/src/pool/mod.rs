//! Several models on one pool of GPUs: each decides what it wants, then the pool says who gets how much.
//!
//! ```text
//! Decision of each model ─▶ Claim (wanted, least, priority, expected use of each replica)
//!        ─▶ divide   what must stay, then minima, then by priority, then by expected use ─▶ granted
//!        ─▶ order    what of it the GPUs that are free now allow; the rest waits for those that end
//!        ─▶ check    a division that contradicts itself moves nothing ─▶ Grant { replicas, because }
//! ```
//!
//! The result depends on the claims alone, not on their order nor on earlier divisions.

mod claim;
mod divide;
mod explain;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use crate::check::check_division;
use crate::decision::{Decision, Reason, reasons};

/// GPUs of one kind that several models share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name, for reasons.
    pub name: String,
    /// GPUs in it.
    pub gpus: u32,
}

/// A model's place in its pool, as the operator sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolTerms {
    /// GPUs of each replica.
    pub gpus_per_replica: NonZeroU32,
    /// A model of higher priority gets what it wants first.
    pub priority: i32,
}

/// What one model asks of its pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its name: unique in the pool, orders what is otherwise equal.
    pub name: String,
    /// Its place in the pool.
    pub terms: PoolTerms,
    /// Replicas that come before any priority.
    pub min_replicas: u32,
    /// Replicas decided on.
    pub wanted: u32,
    /// Replicas it is told to have now.
    pub present: u32,
    /// Engines beyond them that end and still hold their GPUs.
    pub ending: u32,
    /// Whether an engine that ends can be taken back, so that its GPUs need not come free first.
    pub takes_back: bool,
    /// Nothing of what it has can be taken: it is paused, was not heard, or is not ours to change.
    pub keeps: bool,
    /// Expected use of each replica, the first one first; none beyond the end.
    pub uses: Vec<LayerUse>,
}

/// How much of a replica the demand is expected to use, 0 to 1, as a mean over the horizon of the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerUse {
    /// If the replica is there already.
    pub kept: f64,
    /// If it is ordered now: it serves nothing until its start-up time has passed, and holds its GPUs all the same.
    pub ordered: f64,
}

/// What a model gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Replicas that are its share of the pool.
    pub granted: u32,
    /// Replicas to have now: fewer than granted while the GPUs for the others are not free.
    pub replicas: u32,
    /// Why, when it is not what was wanted; the binding reason first.
    pub because: Vec<Reason>,
}

/// Divides a pool among claims; the grants are in the order of the claims. With a contradiction in it nothing moves.
#[must_use]
pub fn divide(pool: &Pool, claims: &[Claim]) -> Vec<Grant> {
    let grants = divide::divide(pool.gpus, claims);
    match check_division(pool.gpus, claims, &grants) {
        Ok(()) => explain::with_reasons(pool, claims, grants),
        Err(contradiction) => {
            let hold = |claim: &Claim| {
                let message = format!(
                    "the division of pool {} is refused: {contradiction}; {} replicas stay",
                    pool.name, claim.present
                );
                let because = vec![Reason::new(reasons::PLAN_REFUSED, f64::from(claim.wanted), message)];
                Grant { granted: claim.present, replicas: claim.present, because }
            };
            claims.iter().map(hold).collect()
        }
    }
}

impl Decision {
    /// Takes what the pool grants instead of what was decided.
    pub fn take(&mut self, grant: &Grant) {
        self.replicas = grant.replicas;
        self.because.splice(0..0, grant.because.iter().cloned());
    }
}
