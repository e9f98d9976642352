//! Which models get how many of the GPUs, and which GPUs an engine gets: a fixed pool, handed out whole, lowest first.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use autoscaler_plan::{Claim, Grant, Pool, PoolTerms, divide};

use super::fleet::Fleet;

/// The first `count` GPUs of `pool` that nobody holds; `None` when there are too few.
///
/// A count of 0 (no GPUs configured) always succeeds with none.
pub fn assign(pool: &[String], held: &BTreeSet<String>, count: usize) -> Option<Vec<String>> {
    let free: Vec<String> = pool.iter().filter(|gpu| !held.contains(*gpu)).take(count).cloned().collect();
    (free.len() == count).then_some(free)
}

/// What each of the models may have of `gpus` GPUs, in the order of their claims.
pub fn share_out(gpus: usize, fleet: &Fleet, claims: &[Claim]) -> Vec<Grant> {
    let pool = Pool { name: "gpus".to_owned(), gpus: count(gpus) };
    let held: usize = fleet.members.iter().map(|member| member.gpus.len()).sum();
    let known: u32 = claims
        .iter()
        .map(|claim| fleet.engines_of(&claim.name).saturating_mul(claim.terms.gpus_per_replica.get()))
        .fold(0, u32::saturating_add);
    // Engines of an earlier configuration drain, and hold their GPUs until they are gone.
    let terms = PoolTerms { gpus_per_replica: NonZeroU32::MIN, priority: 0 };
    let left_over =
        Claim { ending: count(held).saturating_sub(known), ..Claim::fixed("(earlier configuration)", terms, 0) };
    let mut grants = divide(&pool, &[claims, &[left_over]].concat());
    grants.truncate(claims.len());
    grants
}

/// GPUs that models may have and wait for.
pub fn short(claims: &[Claim], grants: &[Grant]) -> usize {
    let short = claims.iter().zip(grants).map(|(claim, grant)| {
        grant.granted.saturating_sub(grant.replicas).saturating_mul(claim.terms.gpus_per_replica.get())
    });
    short.map(|gpus| gpus as usize).sum()
}

fn count(gpus: usize) -> u32 {
    u32::try_from(gpus).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
