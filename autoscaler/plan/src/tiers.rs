//! Prefill and decode on engines of their own. Each tier decides on what reaches its own engines, then the two are coupled:
//! neither orders more than the other lets through, and neither is at zero while the other is not.
//!
//! ```text
//! Decision of each ─▶ TierPart ─▶ the share of what it wants that each can have ─▶ Grant { replicas, because }
//! ```
//!
//! Orders are all that is held back. What is there goes when its own decision says so, which sees what comes through.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Reason, reasons};
use crate::facts::Facts;
use crate::pool::Grant;
use crate::schedule;

/// Which half of each request engines serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// The prompt, up to the first token.
    Prefill,
    /// All tokens after it.
    Decode,
}

impl Tier {
    /// The one that serves the other half.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Prefill => Self::Decode,
            Self::Decode => Self::Prefill,
        }
    }

    /// As written in an object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefill => "Prefill",
            Self::Decode => "Decode",
        }
    }
}

/// One tier of a model, decided on what reaches its own engines.
#[derive(Debug, Clone, Copy)]
pub struct TierPart<'a> {
    /// Its name, for reasons.
    pub name: &'a str,
    /// Which one it is.
    pub tier: Tier,
    /// Whether its replicas are not ours to change.
    pub is_fixed: bool,
    /// What its pool would grant it; `None` without a pool.
    pub granted: Option<u32>,
    /// What it was decided on.
    pub facts: &'a Facts,
    /// What was decided.
    pub decision: &'a Decision,
}

/// Replicas of both tiers, in their order; the grant of one that keeps what it decided gives no reason.
#[must_use]
pub fn couple([one, other]: &[TierPart<'_>; 2], now: Timestamp) -> [Grant; 2] {
    [one.beside(other, now), other.beside(one, now)]
}

/// Replicas of a tier whose other tier is not there, or is there under the name `peer` and cannot be decided on; and the note
/// that says so.
#[must_use]
pub fn alone(part: &TierPart<'_>, peer: Option<&str>) -> (Grant, Reason) {
    let other = part.tier.other().as_str();
    let message = match peer {
        None => format!("no EngineAutoscaler is the {other} tier of this servedModelName: it is decided on alone"),
        Some(name) => format!("its {other} tier, {name}, cannot be decided on now: it is decided on alone"),
    };
    let note = Reason::new(reasons::TIER_ALONE, f64::from(part.decision.replicas), message);
    // The other one may be serving.
    let may_be_needed = peer.is_some() && part.decision.replicas == 0 && part.facts.replicas > 0 && !part.is_fixed();
    (if may_be_needed { part.awake(peer.unwrap_or_default()) } else { part.own() }, note)
}

impl TierPart<'_> {
    fn is_fixed(&self) -> bool {
        self.is_fixed || self.facts.settings.paused
    }

    /// What was decided.
    fn own(&self) -> Grant {
        let replicas = self.decision.replicas;
        Grant { granted: replicas, replicas, because: Vec::new() }
    }

    /// Replicas that it will have.
    fn had(&self) -> u32 {
        if self.is_fixed() { self.facts.replicas } else { self.decision.replicas.min(self.granted.unwrap_or(u32::MAX)) }
    }

    /// Those of them that can be counted on: ones whose start is overdue cannot.
    fn counted_on(&self) -> u32 {
        if self.decision.is_stuck() { self.had().min(self.decision.observed.ready) } else { self.had() }
    }

    /// Share of what it wants that it can have, 0 to 1; all of it while that is not known.
    fn share(&self) -> f64 {
        let wanted = self.decision.wanted;
        if wanted == 0 || !self.decision.has_complete_metrics() {
            return 1.0;
        }
        (f64::from(self.counted_on()) / f64::from(wanted)).min(1.0)
    }

    fn beside(&self, other: &Self, now: Timestamp) -> Grant {
        let decided = self.decision.replicas;
        if self.is_fixed() {
            return self.own();
        }
        if decided == 0 {
            return if other.had() > 0 { self.awake(other.name) } else { self.own() };
        }
        let share = other.share();
        // A float beyond u32 saturates, and what was decided bounds it.
        let through = (f64::from(self.decision.wanted) * share - 1e-9).ceil().max(0.0) as u32;
        let replicas = decided.min(through.max(self.least(other, now)));
        if share >= 1.0 || replicas == decided {
            return self.own();
        }
        let message = format!(
            "{decided} replicas are wanted; its {} tier, {}, can have {} of the {} that it wants, and {replicas} keep up with that",
            other.tier.as_str(),
            other.name,
            other.counted_on(),
            other.decision.wanted,
        );
        let because = vec![Reason::new(reasons::LIMITED_BY_TIER, f64::from(decided), message)];
        Grant { granted: replicas, replicas, because }
    }

    /// Replicas that the other tier takes nothing from.
    fn least(&self, other: &Self, now: Timestamp) -> u32 {
        let Decision { demand, startup, .. } = self.decision;
        let settings = &self.facts.settings;
        let scheduled = schedule::binding(&settings.floors, startup.p95_seconds, now);
        let scheduled = scheduled.map_or(0, |floor| floor.min_replicas);
        // Neither is at zero while the other is not, and what reaches decode has come through prefill: it is not cut again.
        let comes_through = match self.tier {
            _ if other.had() == 0 => 0,
            Tier::Prefill => 1,
            Tier::Decode => (demand.floor_replicas.max(demand.replicas).ceil() as u32).max(1),
        };
        self.facts.replicas.max(settings.min_replicas).max(scheduled).max(comes_through)
    }

    fn awake(&self, other: &str) -> Grant {
        let message = format!(
            "nothing asks for a replica, but its {} tier, {other}, is not at zero: neither serves without the other",
            self.tier.other().as_str()
        );
        Grant { granted: 1, replicas: 1, because: vec![Reason::new(reasons::AWAKE_WITH_TIER, 1.0, message)] }
    }
}

#[cfg(test)]
mod tests;
