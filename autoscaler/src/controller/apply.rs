//! From decision to deed: `/scale` is written when the number changes, this replica leads, and nobody else scales.

use autoscaler_api::{Mode, Validated};
use autoscaler_plan::Decision;
use tokio::sync::watch;
use tokio::time::Instant;

use super::case::Case;
use super::round::Controller;
use super::scale::{self, OtherScalers, ScaleError};
use crate::leader::{Leadership, WRITE_TIMEOUT};

/// What became of a decision.
#[derive(Debug)]
pub enum Outcome {
    /// The target has these replicas already.
    Unchanged,
    /// The target was told.
    Scaled {
        /// Replicas before.
        from: u32,
    },
    /// It is the HPA's to act.
    Published,
    /// Nobody acts.
    Advised,
    /// Something else scales the target, or that is not known.
    Refused,
    /// This replica does not lead any more.
    NotLeading,
    /// The write failed; the next round tries again.
    Failed(ScaleError),
}

/// Why a target must not be scaled: reason and message.
#[must_use]
pub fn refusal(valid: &Validated, others: Option<&OtherScalers>) -> Option<(&'static str, String)> {
    let others = others?;
    let scalers = others.of(&valid.target);
    if !scalers.is_empty() {
        let names = scalers.join(" and ");
        let message =
            format!("{} is also scaled by {names}; delete it, or use mode ThroughHPA or Advise", valid.target);
        return Some(("ScaledByAnother", message));
    }
    let unknown = others.unknown.as_ref()?;
    Some(("OwnerUnknown", format!("whether something else scales {} is not known: {unknown}", valid.target)))
}

/// Carries a decision out.
pub async fn apply(
    controller: &Controller,
    case: &Case<'_>,
    decision: &Decision,
    leadership: &watch::Receiver<Leadership>,
) -> Outcome {
    match case.valid.mode {
        Mode::ThroughHPA => return Outcome::Published,
        Mode::Advise => return Outcome::Advised,
        Mode::Scale if case.refused.is_some() => return Outcome::Refused,
        Mode::Scale => {}
    }
    let from = case.scale.replicas;
    if decision.replicas == from {
        return Outcome::Unchanged;
    }
    // Fencing: a write that begins now ends before anybody else can lead.
    if !leadership.borrow().holds(Instant::now()) {
        return Outcome::NotLeading;
    }
    let target = &case.valid.target;
    let write = scale::write(&controller.client, &controller.namespace, target, &case.scale, decision.replicas);
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(())) => Outcome::Scaled { from },
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed(ScaleError::Timeout { target: target.to_string(), timeout: WRITE_TIMEOUT }),
    }
}
