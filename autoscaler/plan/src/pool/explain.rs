//! Why a model gets what it gets.

use super::divide::gpus_of;
use super::{Claim, Grant, Pool};
use crate::decision::{Reason, reasons};

/// Other models named in a reason.
const NAMED: usize = 3;

/// Adds the reasons to the grants.
pub(super) fn with_reasons(pool: &Pool, claims: &[Claim], mut grants: Vec<Grant>) -> Vec<Grant> {
    let shares: Vec<u64> = claims.iter().zip(&grants).map(|(claim, grant)| gpus_of(claim, grant.granted)).collect();
    for (index, (claim, grant)) in claims.iter().zip(&mut grants).enumerate() {
        if grant.granted < claim.wanted {
            let Claim { wanted, .. } = claim;
            let granted = grant.granted;
            let message = format!(
                "{wanted} replicas of {} are wanted and {granted} granted: pool {} has {}{}",
                gpus(u64::from(claim.terms.gpus_per_replica.get())),
                pool.name,
                gpus(u64::from(pool.gpus)),
                others(claims, &shares, index),
            );
            // What decides the number goes first: something is taken, or something is not given.
            let reason = if granted < claim.present { reasons::YIELDED_TO_POOL } else { reasons::LIMITED_BY_POOL };
            grant.because.push(Reason::new(reason, f64::from(*wanted), message));
        }
        if grant.replicas < grant.granted {
            let missing = grant.granted - grant.replicas;
            let message = format!(
                "{} replicas are granted, {missing} of them wait until GPUs of pool {} come free",
                grant.granted, pool.name
            );
            grant.because.insert(0, Reason::new(reasons::WAITING_FOR_POOL, f64::from(missing), message));
        }
    }
    grants
}

/// Who has the rest, the largest first.
fn others(claims: &[Claim], shares: &[u64], but: usize) -> String {
    let mut others: Vec<(&Claim, u64)> = claims.iter().zip(shares.iter().copied()).collect();
    others.remove(but);
    others.retain(|(_, share)| *share > 0);
    others.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.name.cmp(&other.0.name)));
    if others.is_empty() {
        return String::new();
    }
    let named: Vec<String> = others
        .iter()
        .take(NAMED)
        .map(|(claim, share)| format!("{} {share} (priority {})", claim.name, claim.terms.priority))
        .collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more models") } else { String::new() };
    format!("; others have {}{more}", named.join(", "))
}

fn gpus(count: u64) -> String {
    if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") }
}
