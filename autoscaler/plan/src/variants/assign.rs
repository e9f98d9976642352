//! From the decisions of all variants to the replicas of each.

use super::cover::{Cover, Need, Variant, cover};
use crate::decision::{Decision, Reason, reasons};
use crate::facts::{Facts, RouterFacts};
use crate::pool::Grant;

/// A change from one variant to another pays for its starts within this share of the season: an hour of a day.
const HORIZON_OF_SEASON: f64 = 1.0 / 24.0;

/// One variant of a model, decided as if it were to carry its share of the requests alone.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its name, for reasons.
    pub name: &'a str,
    /// Price of a replica for a second, in the unit of the others; above 0.
    pub price: f64,
    /// Whether its replicas are not ours to change.
    pub is_fixed: bool,
    /// What it was decided on.
    pub facts: &'a Facts,
    /// What was decided.
    pub decision: &'a Decision,
}

impl Part<'_> {
    fn capacity(&self) -> f64 {
        self.decision.capacity.requests
    }

    fn is_fixed(&self) -> bool {
        self.is_fixed || self.facts.settings.paused
    }

    /// Replicas that are there and that its own decision keeps though it wants fewer: a dip, a start that is about to end.
    fn kept(&self) -> u32 {
        if self.decision.replicas > self.decision.wanted { self.decision.replicas.min(self.facts.replicas) } else { 0 }
    }

    fn bounds(&self) -> (u32, u32) {
        let settings = &self.facts.settings;
        if self.is_fixed() {
            return (self.facts.replicas, self.facts.replicas);
        }
        // Nothing would wake it at zero without a router.
        let least = u32::from(self.facts.router == RouterFacts::NotConfigured);
        (settings.min_replicas.max(least).min(settings.max_replicas), settings.max_replicas)
    }

    fn variant(&self) -> Variant {
        let (min_replicas, max_replicas) = self.bounds();
        Variant {
            name: self.name.to_owned(),
            capacity_requests: self.capacity(),
            price: self.price,
            startup_seconds: self.decision.startup.p95_seconds,
            present: self.facts.replicas,
            min_replicas,
            max_replicas,
        }
    }
}

/// Replicas of each variant, in their order; the grant of one that keeps what it decided gives no reason.
///
/// Nothing moves between them while one of them cannot be seen whole: what it carries is not known.
#[must_use]
pub fn assign(parts: &[Part<'_>]) -> Vec<Grant> {
    let decided = |part: &Part<'_>| Grant {
        granted: part.decision.replicas,
        replicas: part.decision.replicas,
        because: Vec::new(),
    };
    let is_seen = parts.iter().all(|part| part.decision.has_complete_metrics());
    if parts.len() < 2 || !is_seen {
        return parts.iter().map(decided).collect();
    }
    let variants: Vec<Variant> = parts.iter().map(Part::variant).collect();
    let target = target(parts, &variants);
    let replicas = hold(parts, &variants, &target);
    let granted = parts.iter().zip(target.replicas.iter().zip(replicas));
    granted.map(|(part, (&granted, replicas))| grant(parts, part, &target, granted, replicas)).collect()
}

/// What all of them want, at the least price: what is in service and waits as soon as the fastest starts, the plans by the
/// time the slowest has.
fn target(parts: &[Part<'_>], variants: &[Variant]) -> Cover {
    let startups = variants.iter().map(|variant| variant.startup_seconds);
    let (fastest, slowest) = startups
        .fold((f64::INFINITY, 0.0_f64), |(fastest, slowest), seconds| (fastest.min(seconds), slowest.max(seconds)));
    let needs = [
        Need { within_seconds: fastest, requests: in_service(parts) },
        Need { within_seconds: slowest, requests: planned(parts) },
    ];
    let season = parts.iter().map(|part| part.facts.settings.rhythm.season_seconds()).fold(f64::INFINITY, f64::min);
    cover(variants, &needs, HORIZON_OF_SEASON * season)
}

/// The target, what decisions keep beyond it, and what is Ready as long as what is Ready of these does not carry what is there.
fn hold(parts: &[Part<'_>], variants: &[Variant], target: &Cover) -> Vec<u32> {
    let held: Vec<Variant> = parts
        .iter()
        .zip(variants)
        .zip(&target.replicas)
        .map(|((part, variant), &granted)| Variant {
            present: part.decision.observed.ready.min(variant.present),
            min_replicas: granted.max(part.kept().min(variant.max_replicas)),
            max_replicas: granted.max(variant.present.min(variant.max_replicas)),
            ..variant.clone()
        })
        .collect();
    cover(&held, &[Need { within_seconds: 0.0, requests: in_service(parts) }], 1.0).replicas
}

/// Requests in service, and room for those that wait.
fn in_service(parts: &[Part<'_>]) -> f64 {
    parts.iter().map(|part| part.decision.demand.floor_replicas * part.capacity()).sum()
}

/// Requests at once that the decisions make room for.
fn planned(parts: &[Part<'_>]) -> f64 {
    parts.iter().map(|part| f64::from(part.decision.wanted) * part.capacity()).sum()
}

fn grant(parts: &[Part<'_>], part: &Part<'_>, target: &Cover, granted: u32, replicas: u32) -> Grant {
    let mut because = Vec::new();
    if granted != part.decision.replicas {
        let mix: Vec<String> =
            parts.iter().zip(&target.replicas).map(|(part, replicas)| format!("{replicas} of {}", part.name)).collect();
        let message = format!(
            "{} replicas would carry its share; room for {:.1} requests on all variants costs least as {}",
            part.decision.replicas,
            planned(parts),
            mix.join(", "),
        );
        because.push(Reason::new(reasons::LEAST_PRICE, f64::from(granted), message));
    }
    let kept = granted.max(part.kept());
    if replicas > kept {
        let message = format!("{} replicas more than the {kept} planned serve until others are Ready", replicas - kept);
        because.insert(0, Reason::new(reasons::SERVES_UNTIL_OTHERS, f64::from(replicas), message));
    }
    Grant { granted, replicas, because }
}

#[cfg(test)]
mod tests;
