//! The division itself.

use std::cmp::Reverse;

use super::{Claim, Grant, LayerUse};

/// A replica that a model wants, with what decides when its turn comes.
#[derive(Debug, Clone, Copy)]
struct Layer {
    claim: usize,
    is_minimum: bool,
    is_present: bool,
    /// Its number within the model, from 1.
    number: u32,
    /// Expected use, 0 to 1; never above that of the replica before it.
    value: f64,
}

/// Grants replica by replica, dearest first, as long as GPUs last. A replica that does not fit leaves the GPUs to those
/// after it; further ones of the same model do not fit either.
///
/// The use of a replica is counted per GPU: one of four GPUs that is half used and one of a single GPU that is half used
/// are worth the same for each GPU they hold.
pub(super) fn divide(gpus: u32, claims: &[Claim]) -> Vec<Grant> {
    let mut left = u64::from(gpus);
    let mut granted: Vec<u32> = claims.iter().map(kept).collect();
    for (claim, granted) in claims.iter().zip(&granted) {
        left = left.saturating_sub(gpus_of(claim, *granted));
    }
    let layers = in_turn(gpus, claims, &granted);
    let mut is_closed = vec![false; claims.len()];
    for layer in &layers {
        let need = gpus_of(&claims[layer.claim], 1);
        if is_closed[layer.claim] || need > left {
            is_closed[layer.claim] = true;
            continue;
        }
        left -= need;
        granted[layer.claim] = layer.number;
    }
    let replicas = orders(gpus, claims, &granted, &layers);
    let grant = |(granted, replicas)| Grant { granted, replicas, because: Vec::new() };
    granted.into_iter().zip(replicas).map(grant).collect()
}

/// Replicas that cannot be taken.
fn kept(claim: &Claim) -> u32 {
    if claim.keeps { claim.present.min(claim.wanted) } else { 0 }
}

pub(super) fn gpus_of(claim: &Claim, replicas: u32) -> u64 {
    u64::from(replicas) * u64::from(claim.terms.gpus_per_replica.get())
}

/// All replicas wanted beyond those that are kept, in the order of their turns: minima, then priority, then use. At equal
/// use what is there stays, and what is ordered goes round.
fn in_turn(gpus: u32, claims: &[Claim], kept: &[u32]) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (index, (claim, kept)) in claims.iter().zip(kept).enumerate() {
        let most = claim.wanted.min(gpus / claim.terms.gpus_per_replica);
        // A replica is never worth more than the one before it.
        let mut least = LayerUse { kept: 1.0, ordered: 1.0 };
        for number in 1..=most {
            let is_present = number <= claim.present;
            let expected = claim.uses.get(number as usize - 1).copied().unwrap_or_default();
            least =
                LayerUse { kept: lesser(least.kept, expected.kept), ordered: lesser(least.ordered, expected.ordered) };
            let value = if is_present { least.kept } else { least.ordered.min(least.kept) };
            if number > *kept {
                let is_minimum = number <= claim.min_replicas;
                layers.push(Layer { claim: index, is_minimum, is_present, number, value });
            }
        }
    }
    layers.sort_by(|one, other| {
        let rank = |layer: &Layer| (Reverse(layer.is_minimum), Reverse(claims[layer.claim].terms.priority));
        // Minima are needed whatever their use.
        let value = |layer: &Layer| if layer.is_minimum { 0.0 } else { layer.value };
        let last = |layer: &Layer| (Reverse(layer.is_present), layer.number);
        rank(one)
            .cmp(&rank(other))
            .then(value(other).total_cmp(&value(one)))
            .then(last(one).cmp(&last(other)))
            .then_with(|| claims[one.claim].name.cmp(&claims[other.claim].name))
    });
    layers
}

/// The lesser of two shares; what is no share counts as none.
fn lesser(least: f64, share: f64) -> f64 {
    if share > 0.0 { least.min(share) } else { 0.0 }
}

/// What of the grants can be ordered now: release first, and order when the GPUs are free. A start that waits for a GPU
/// would be learned as a slow start.
fn orders(gpus: u32, claims: &[Claim], granted: &[u32], layers: &[Layer]) -> Vec<u32> {
    let held: u64 = claims.iter().map(|claim| gpus_of(claim, claim.present.saturating_add(claim.ending))).sum();
    let mut free = u64::from(gpus).saturating_sub(held);
    let mut replicas: Vec<u32> =
        claims.iter().zip(granted).map(|(claim, granted)| claim.present.min(*granted)).collect();
    let mut own: Vec<u32> = claims.iter().map(|claim| if claim.takes_back { claim.ending } else { 0 }).collect();
    for layer in layers {
        let (claim, index) = (&claims[layer.claim], layer.claim);
        if layer.number > granted[index] || layer.number != replicas[index] + 1 || layer.number <= claim.present {
            continue;
        }
        let need = gpus_of(claim, 1);
        if own[index] > 0 {
            own[index] -= 1;
            replicas[index] += 1;
        } else if need <= free {
            free -= need;
            replicas[index] += 1;
        }
    }
    replicas
}
