//! Decisions of targets that serve one model on unlike GPUs, turned to the replicas that carry it at the least price.

use std::collections::{BTreeMap, BTreeSet};

use autoscaler_api::EngineAutoscalerSpec;
use autoscaler_plan::{Part, assign};
use jiff::Timestamp;

use super::case::Decided;
use super::pools::Member;

/// Lets the variants of each model share its demand. Of two objects on one target the one that acts counts.
pub(super) fn share_out(members: &mut [Member<'_>], now: Timestamp) {
    // Those that cannot be decided on now belong to their models all the same.
    let unknown: BTreeSet<String> = members.iter().filter(|member| member.decided.is_err()).filter_map(model).collect();
    let mut models: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut targets = BTreeSet::new();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| !members[index].decided.as_ref().is_ok_and(Decided::acts));
    for index in order {
        let Ok(decided) = &members[index].decided else { continue };
        let Some(variant) = &decided.case.valid.variant else { continue };
        if targets.insert(decided.case.valid.target.to_string()) {
            models.entry(variant.served_model_name.clone()).or_default().push(index);
        }
    }
    for (model, indices) in &models {
        let parts: Vec<Part<'_>> = indices.iter().filter_map(|&index| part(&members[index])).collect();
        let grants = assign(&parts, !unknown.contains(model), now);
        for (index, grant) in indices.iter().zip(&grants) {
            if let Ok(decided) = &mut members[*index].decided
                && decided.acts()
            {
                decided.decision.take(grant);
            }
        }
    }
}

/// The model that an object says to be a variant of.
fn model(member: &Member<'_>) -> Option<String> {
    let EngineAutoscalerSpec { variant, served_model_name, .. } = &member.object.content.as_ref().ok()?.spec;
    variant.and(served_model_name.clone())
}

fn part<'a>(member: &'a Member<'_>) -> Option<Part<'a>> {
    let decided = member.decided.as_ref().ok()?;
    let price = decided.case.valid.variant.as_ref()?.price;
    let Decided { facts, decision, .. } = decided;
    Some(Part { name: &member.name, price, is_fixed: !decided.acts(), facts, decision })
}
