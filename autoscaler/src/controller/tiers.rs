//! Decisions of targets that serve prefill and decode of one model, coupled: neither orders more than the other lets through.

use std::collections::{BTreeMap, BTreeSet};

use autoscaler_api::{EngineAutoscaler, InvalidSpec, TierMember, tier_member};
use autoscaler_plan::{Tier, TierPart, alone, couple};
use jiff::Timestamp;

use super::case::Decided;
use super::objects::Object;
use super::pools::Member;

/// Whether an object is the only one that says to be this tier of the model, or the oldest. Several on one target are one tier.
pub(super) fn check(
    objects: &BTreeMap<String, Object>,
    own: &EngineAutoscaler,
    name: &str,
    tier: Option<&TierMember>,
) -> Result<(), InvalidSpec> {
    let Some(tier) = tier else { return Ok(()) };
    let age = |object: &EngineAutoscaler| object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let is_older =
        |object: &Object, content: &EngineAutoscaler| (age(content), object.name.as_str()) < (age(own), name);
    let rival = objects.values().find(|object| {
        object.content.as_ref().is_ok_and(|content| {
            content.spec.scale_target_ref != own.spec.scale_target_ref
                && is_older(object, content)
                && tier_member(&content.spec).ok().flatten().as_ref() == Some(tier)
        })
    });
    let Some(rival) = rival else { return Ok(()) };
    let problem = format!(
        "EngineAutoscaler {} is the {} tier of {} already",
        rival.name,
        tier.tier.as_str(),
        tier.served_model_name
    );
    Err(InvalidSpec { field: "tier".into(), problem, fix: "delete one of the two, or give it another servedModelName" })
}

/// Couples the tiers of each model. `granted` is what their pools would give those that have one.
pub(super) fn share_out(members: &mut [Member<'_>], granted: &BTreeMap<String, u32>, now: Timestamp) {
    // Those that cannot be decided on now may serve all the same.
    let unknown: BTreeMap<TierKey, String> = members
        .iter()
        .filter(|member| member.decided.is_err())
        .filter_map(|member| Some((stated(member)?, member.name.clone())))
        .collect();
    for (model, tiers) in models(members) {
        let parts: Vec<TierPart<'_>> =
            tiers.iter().filter_map(|(tier, &index)| part(&members[index], *tier, granted)).collect();
        let grants = match parts.as_slice() {
            [one] => {
                let peer = unknown.get(&(model.clone(), one.tier.other())).map(String::as_str);
                let (grant, note) = alone(one, peer);
                vec![(grant, Some(note))]
            }
            [one, other] => couple(&[*one, *other], now).map(|grant| (grant, None)).into(),
            _ => continue,
        };
        for (index, (grant, note)) in tiers.values().zip(grants) {
            if let Ok(decided) = &mut members[*index].decided {
                if decided.acts() {
                    decided.decision.take(&grant);
                }
                // Told once, though it is coupled again once pools have said what they would give.
                decided.decision.because.extend(note.filter(|_| granted.is_empty()));
            }
        }
    }
}

type TierKey = (String, Tier);

/// Which tier of which model an object says to be.
fn stated(member: &Member<'_>) -> Option<TierKey> {
    let TierMember { served_model_name, tier } = tier_member(&member.object.content.as_ref().ok()?.spec).ok()??;
    Some((served_model_name, tier))
}

/// The members that are decided on, by model and tier. Of two objects on one target the one that acts counts.
fn models(members: &[Member<'_>]) -> BTreeMap<String, BTreeMap<Tier, usize>> {
    let mut models: BTreeMap<String, BTreeMap<Tier, usize>> = BTreeMap::new();
    let mut targets = BTreeSet::new();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| !members[index].decided.as_ref().is_ok_and(Decided::acts));
    for index in order {
        let Ok(decided) = &members[index].decided else { continue };
        let Some(TierMember { served_model_name, tier }) = &decided.case.valid.tier else { continue };
        if targets.insert(decided.case.valid.target.to_string()) {
            models.entry(served_model_name.clone()).or_default().entry(*tier).or_insert(index);
        }
    }
    models
}

fn part<'a>(member: &'a Member<'_>, tier: Tier, granted: &BTreeMap<String, u32>) -> Option<TierPart<'a>> {
    let decided = member.decided.as_ref().ok()?;
    let Decided { facts, decision, .. } = decided;
    let granted = granted.get(&member.name).copied();
    Some(TierPart { name: &member.name, tier, is_fixed: !decided.acts(), granted, facts, decision })
}
