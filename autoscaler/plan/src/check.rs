//! The last look at a plan before it is acted on: what contradicts itself is refused, and the replicas stay.

use std::collections::BTreeSet;

use crate::decision::Decision;
use crate::facts::Facts;
use crate::pool::{Claim, Grant};

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Contradiction {
    /// A number that the plan rests on is no number, or negative.
    #[error("{what} is {value}")]
    NotANumber {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// More than allowed.
    #[error("{replicas} replicas are above maxReplicas {max_replicas}")]
    AboveMax {
        /// Planned.
        replicas: u32,
        /// Allowed.
        max_replicas: u32,
    },
    /// Less than allowed.
    #[error("{replicas} replicas are below minReplicas {min_replicas}")]
    BelowMin {
        /// Planned.
        replicas: u32,
        /// Demanded.
        min_replicas: u32,
    },
    /// It is paused, and would change.
    #[error("{from} replicas would become {to} while paused")]
    MovesWhilePaused {
        /// Now.
        from: u32,
        /// Planned.
        to: u32,
    },
    /// Something was not heard, and replicas would go.
    #[error("{from} replicas would become {to} while engines or routers are silent")]
    DrainsOnSilence {
        /// Now.
        from: u32,
        /// Planned.
        to: u32,
    },
    /// Nothing says why.
    #[error("no reason is given")]
    NoReason,
    /// Two claims of one name would be ordered and released at once.
    #[error("{name} has two claims on one pool")]
    ClaimedTwice {
        /// Whose.
        name: String,
    },
    /// A model gets more than it wants, or is told to have more than it gets.
    #[error("{name} wants {wanted} replicas, is granted {granted} and ordered {replicas}")]
    NotAShare {
        /// Whose.
        name: String,
        /// Wanted.
        wanted: u32,
        /// Granted.
        granted: u32,
        /// Ordered.
        replicas: u32,
    },
    /// Replicas would go that must stay.
    #[error("{name} would lose replicas that must stay: {from} would become {to}")]
    DrainsWhatStays {
        /// Whose.
        name: String,
        /// Now.
        from: u32,
        /// Planned.
        to: u32,
    },
    /// More GPUs than there are.
    #[error("{needed} GPUs would be needed of {gpus}")]
    MoreThanPool {
        /// Planned.
        needed: u64,
        /// There.
        gpus: u32,
    },
}

/// Checks a decision against its facts.
///
/// # Errors
/// The first contradiction.
pub fn check_decision(facts: &Facts, decision: &Decision) -> Result<(), Contradiction> {
    for (what, value) in numbers(decision) {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Contradiction::NotANumber { what, value });
        }
    }
    if decision.because.is_empty() {
        return Err(Contradiction::NoReason);
    }
    let (from, to) = (facts.replicas, decision.replicas);
    let (min_replicas, max_replicas) = (facts.settings.min_replicas, facts.settings.max_replicas);
    if facts.settings.paused {
        return if to == from { Ok(()) } else { Err(Contradiction::MovesWhilePaused { from, to }) };
    }
    if to > max_replicas {
        return Err(Contradiction::AboveMax { replicas: to, max_replicas });
    }
    if to < min_replicas {
        return Err(Contradiction::BelowMin { replicas: to, min_replicas });
    }
    if !decision.has_complete_metrics() && to < from.min(max_replicas) {
        return Err(Contradiction::DrainsOnSilence { from, to });
    }
    Ok(())
}

/// What a decision rests on. None of it can be negative.
fn numbers(decision: &Decision) -> impl Iterator<Item = (&'static str, f64)> {
    let demand = &decision.demand;
    let always = [
        ("the number of requests in service", demand.in_service),
        ("the number of requests that wait", demand.waiting),
        ("the demand in replicas", demand.replicas),
        ("the demand now in replicas", demand.floor_replicas),
        ("the capacity of a replica", decision.capacity.requests),
        ("the start-up time", decision.startup.p95_seconds),
        ("the wake time", decision.standby.map_or(0.0, |tier| tier.wake.p95_seconds)),
    ];
    let plan = decision.plan.iter().flat_map(|plan| plan.forecast.quantiles).map(|value| ("the forecast", value));
    always.into_iter().chain(plan)
}

/// Checks the division of a pool against its claims.
///
/// # Errors
/// The first contradiction.
pub fn check_division(gpus: u32, claims: &[Claim], grants: &[Grant]) -> Result<(), Contradiction> {
    let mut names = BTreeSet::new();
    let (mut needed, mut kept, mut ordered) = (0_u64, 0_u64, 0_u64);
    let mut held = 0_u64;
    for (claim, grant) in claims.iter().zip(grants) {
        if !names.insert(claim.name.as_str()) {
            return Err(Contradiction::ClaimedTwice { name: claim.name.clone() });
        }
        let (wanted, granted, replicas) = (claim.wanted, grant.granted, grant.replicas);
        if granted > wanted || replicas > granted {
            return Err(Contradiction::NotAShare { name: claim.name.clone(), wanted, granted, replicas });
        }
        let stays = if claim.keeps { claim.present.min(wanted) } else { 0 };
        if replicas < stays {
            return Err(Contradiction::DrainsWhatStays { name: claim.name.clone(), from: claim.present, to: replicas });
        }
        let each = u64::from(claim.terms.gpus_per_replica.get());
        needed += each * u64::from(granted);
        kept += each * u64::from(stays);
        held += each * (u64::from(claim.present) + u64::from(claim.ending));
        // What ends holds its GPUs until it is gone, whoever is told to have fewer.
        let ending = u64::from(claim.ending);
        let ending = if claim.takes_back { ending } else { 0 };
        let fresh = u64::from(replicas.saturating_sub(claim.present)).saturating_sub(ending);
        ordered += each * fresh;
    }
    // What must stay may be more than there is, if the pool was made smaller.
    if needed > u64::from(gpus).max(kept) {
        return Err(Contradiction::MoreThanPool { needed, gpus });
    }
    if ordered > u64::from(gpus).saturating_sub(held) {
        return Err(Contradiction::MoreThanPool { needed: held + ordered, gpus });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
