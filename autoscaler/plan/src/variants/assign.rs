//! From the decisions of all variants to the replicas of each.

use jiff::Timestamp;

use super::cover::{Cover, Need, Variant, cover};
use crate::decision::{Decision, Reason, reasons};
use crate::facts::{Facts, RouterFacts};
use crate::pool::Grant;
use crate::schedule;

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
    fn is_fixed(&self) -> bool {
        self.is_fixed || self.facts.settings.paused
    }

    fn ready(&self) -> u32 {
        self.decision.observed.ready.min(self.facts.replicas)
    }

    fn kept(&self) -> u32 {
        self.decision.kept(self.facts.replicas)
    }

    /// Replicas that its share of the requests needs, were there no maximum and no whole replicas.
    fn need(&self) -> f64 {
        let Decision { demand, plan, wanted, .. } = self.decision;
        let most = plan.as_ref().map_or(0.0, |plan| plan.forecast.quantiles[3]);
        f64::from(*wanted).min(demand.floor_replicas.max(demand.replicas).max(most))
    }

    fn bounds(&self, now: Timestamp) -> (u32, u32) {
        if self.is_fixed() {
            return (self.ready(), self.ready());
        }
        let settings = &self.facts.settings;
        // Nothing would wake it at zero without a router.
        let least = u32::from(self.facts.router == RouterFacts::NotConfigured);
        let scheduled = schedule::binding(&settings.floors, self.decision.startup.p95_seconds, now);
        let least = least.max(settings.min_replicas).max(scheduled.map_or(0, |floor| floor.min_replicas));
        let most = if self.decision.is_stuck() { self.ready().max(least) } else { settings.max_replicas };
        (least.min(settings.max_replicas), most.min(settings.max_replicas))
    }

    fn variant(&self, capacity: f64, now: Timestamp) -> Variant {
        let (min_replicas, max_replicas) = self.bounds(now);
        Variant {
            name: self.name.to_owned(),
            capacity_requests: capacity,
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
/// While one of them cannot be seen whole, or one that belongs to them is not among `parts` (`are_all` is false), what it
/// carries is not known: then no other gives anything up.
#[must_use]
pub fn assign(parts: &[Part<'_>], are_all: bool, now: Timestamp) -> Vec<Grant> {
    if !are_all || !parts.iter().all(|part| part.decision.has_complete_metrics()) {
        return parts.iter().map(|part| own(part, part.facts.replicas.min(part.facts.settings.max_replicas))).collect();
    }
    if parts.len() < 2 {
        return parts.iter().map(|part| own(part, 0)).collect();
    }
    let capacities = capacities(parts);
    let variants: Vec<Variant> =
        parts.iter().zip(&capacities).map(|(part, capacity)| part.variant(*capacity, now)).collect();
    let target = target(parts, &variants);
    let replicas = hold(parts, &variants, &target);
    let granted = parts.iter().zip(target.replicas.iter().zip(replicas));
    granted.map(|(part, (&granted, replicas))| grant(parts, part, &target, granted, replicas)).collect()
}

/// What was decided, and at least so much of what is there.
fn own(part: &Part<'_>, least: u32) -> Grant {
    let least = if part.is_fixed() { 0 } else { least };
    let replicas = part.decision.replicas.max(least);
    Grant { granted: replicas, replicas, because: Vec::new() }
}

/// What a replica of each carries: requests a second, since slower engines hold a request longer; requests at once until it is
/// known how long.
fn capacities(parts: &[Part<'_>]) -> Vec<f64> {
    let capacity = |part: &Part<'_>| part.decision.capacity;
    let a_second = parts
        .iter()
        .map(|part| capacity(part).service_seconds.filter(|s| *s > 0.0).map(|s| capacity(part).requests / s));
    let a_second: Option<Vec<f64>> = a_second.collect();
    a_second.unwrap_or_else(|| parts.iter().map(|part| capacity(part).requests).collect())
}

/// What all of them want, at the least price: what is in service and waits as soon as the fastest starts, the plans by the
/// time the slowest has.
fn target(parts: &[Part<'_>], variants: &[Variant]) -> Cover {
    let startups = variants.iter().map(|variant| variant.startup_seconds);
    let (fastest, slowest) = startups
        .fold((f64::INFINITY, 0.0_f64), |(fastest, slowest), seconds| (fastest.min(seconds), slowest.max(seconds)));
    let now = |part: &Part<'_>| part.decision.demand.floor_replicas;
    let needs = [
        Need { within_seconds: fastest, requests: sum(parts, variants, now) },
        Need { within_seconds: slowest, requests: sum(parts, variants, |part| part.need()) },
    ];
    let season = parts.iter().map(|part| part.facts.settings.rhythm.season_seconds()).fold(f64::INFINITY, f64::min);
    cover(variants, &needs, HORIZON_OF_SEASON * season)
}

/// The target, what decisions keep beyond it, and what is Ready as long as what is Ready of these does not carry what is wanted.
fn hold(parts: &[Part<'_>], variants: &[Variant], target: &Cover) -> Vec<u32> {
    let held = parts.iter().zip(variants).zip(&target.replicas).map(|((part, variant), &granted)| {
        let most = if part.is_fixed() { granted } else { part.facts.settings.max_replicas };
        let there = part.facts.replicas.min(most);
        let kept = if part.decision.is_stuck() { there } else { part.kept().min(most) };
        Variant {
            // What has shown nothing yet is not relied on for more than it carries now.
            capacity_requests: if part.decision.capacity.confidence > 0.0 {
                variant.capacity_requests
            } else {
                variant.capacity_requests * shown_share(part)
            },
            present: part.ready(),
            min_replicas: granted.max(kept),
            max_replicas: granted.max(there),
            ..variant.clone()
        }
    });
    let held: Vec<Variant> = held.collect();
    let wanted = |part: &Part<'_>| part.need().max(part.decision.demand.floor_replicas);
    cover(&held, &[Need { within_seconds: 0.0, requests: sum(parts, variants, wanted) }], 1.0).replicas
}

/// Share of its believed capacity that is in service on a Ready replica now; never quite none.
fn shown_share(part: &Part<'_>) -> f64 {
    let full = part.decision.capacity.requests * f64::from(part.ready());
    if full > 0.0 { (part.decision.demand.in_service / full).clamp(1e-3, 1.0) } else { 1.0 }
}

fn sum(parts: &[Part<'_>], variants: &[Variant], replicas: impl Fn(&Part<'_>) -> f64) -> f64 {
    parts.iter().zip(variants).map(|(part, variant)| replicas(part) * variant.capacity_requests).sum()
}

fn grant(parts: &[Part<'_>], part: &Part<'_>, target: &Cover, granted: u32, replicas: u32) -> Grant {
    if part.is_fixed() {
        return own(part, 0);
    }
    let mut because = Vec::new();
    if replicas != part.decision.replicas {
        let mix: Vec<String> =
            parts.iter().zip(&target.replicas).map(|(part, replicas)| format!("{replicas} of {}", part.name)).collect();
        let message = format!(
            "{} replicas would carry its share; what all variants have to carry costs least as {}",
            part.decision.replicas,
            mix.join(", "),
        );
        because.push(Reason::new(reasons::LEAST_PRICE, f64::from(granted), message));
    }
    let kept = granted.max(part.kept());
    if replicas > kept && !part.decision.is_stuck() {
        let message = format!("{} replicas more than the {kept} planned serve until others are Ready", replicas - kept);
        because.insert(0, Reason::new(reasons::SERVES_UNTIL_OTHERS, f64::from(replicas), message));
    }
    Grant { granted, replicas, because }
}

#[cfg(test)]
mod tests;
