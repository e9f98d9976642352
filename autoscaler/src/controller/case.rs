//! One object on its way through a round: what it asks for, what is there, what is decided.

use std::collections::BTreeMap;

use autoscaler_api::{EngineAutoscaler, InvalidSpec, Mode, Validated};
use autoscaler_plan::{Decision, Facts};
use engines::{Engine, EngineState};

use super::scale::{Scale, ScaleError};
use crate::leader::WRITE_TIMEOUT;
use crate::observe::facts::Share;
use crate::observe::selector;

/// One object on its way through a round.
pub struct Case<'a> {
    /// The object.
    pub object: &'a EngineAutoscaler,
    /// What it asks for.
    pub valid: Validated,
    /// Its target's scale.
    pub scale: Scale,
    /// Why it must not be scaled, if so: reason and message.
    pub refused: Option<(&'static str, String)>,
    /// Its target's engines.
    pub engines: Vec<&'a Engine>,
}

/// An object whose decision is made.
pub(super) struct Decided<'a> {
    pub(super) case: Case<'a>,
    pub(super) share: Share,
    /// What the decision rests on.
    pub(super) facts: Facts,
    pub(super) decision: Decision,
}

impl Decided<'_> {
    /// Whether the decision changes replicas, by our hand or by an HPA's.
    pub(super) fn acts(&self) -> bool {
        match self.case.valid.mode {
            Mode::Scale => self.case.refused.is_none(),
            Mode::ThroughHPA => true,
            Mode::Advise => false,
        }
    }
}

/// Why no decision can be made.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The object cannot be read.
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
    /// The spec is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
    /// The target is not there or cannot be read.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The target's selector cannot be read.
    #[error(transparent)]
    Selector(#[from] selector::SelectorError),
    /// The API server did not answer.
    #[error("no answer from the API server within {WRITE_TIMEOUT:?}")]
    Timeout,
}

impl CaseError {
    /// A bounded word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Invalid(_) => "InvalidSpec",
            Self::Scale(error) => error.reason(),
            Self::Selector(_) => "TargetHasNoSelector",
            Self::Timeout => "TargetUnreadable",
        }
    }
}

/// Objects of a round by name.
pub(super) type Cases<'a> = Vec<(String, Result<Case<'a>, CaseError>)>;

/// Two objects on one target would pull it to and fro: the older one keeps it.
pub(super) fn refuse_second_owners(cases: &mut Cases<'_>) {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|&index| match &cases[index].1 {
        Ok(case) => (case.object.metadata.creation_timestamp.as_ref().map(|time| time.0), cases[index].0.clone()),
        Err(_) => (None, cases[index].0.clone()),
    });
    let mut owners: BTreeMap<(String, String, String), String> = BTreeMap::new();
    for index in order {
        let (name, Ok(case)) = &mut cases[index] else { continue };
        if case.valid.mode != Mode::Scale {
            continue;
        }
        let target = &case.valid.target;
        let key = (target.group.clone(), target.kind.clone(), target.name.clone());
        match owners.get(&key) {
            Some(owner) => {
                let message = format!("{target} is scaled by EngineAutoscaler {owner}; delete one of the two");
                case.refused = Some(("ScaledByAnother", message));
            }
            None => drop(owners.insert(key, name.clone())),
        }
    }
}

/// How the router's queue of a served name is split over the targets that serve it.
pub(super) fn shares(cases: &Cases<'_>) -> BTreeMap<String, Share> {
    let ready = |case: &Case<'_>| case.engines.iter().filter(|engine| engine.state == EngineState::Ready).count();
    let mut by_served: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (_, case) in cases {
        if let Ok(case) = case
            && let Some(served) = case.valid.served_model_name.as_deref()
        {
            let (all, targets) = by_served.entry(served).or_default();
            *all += ready(case);
            *targets += 1;
        }
    }
    let share = |(name, case): &(String, Result<Case<'_>, CaseError>)| {
        let case = case.as_ref().ok()?;
        // Every request passes through both tiers.
        if case.valid.tier.is_some() {
            return Some((name.clone(), Share { own: ready(case), all: ready(case), targets: 1 }));
        }
        let (all, targets) = *by_served.get(case.valid.served_model_name.as_deref()?)?;
        Some((name.clone(), Share { own: ready(case), all, targets }))
    };
    cases.iter().filter_map(share).collect()
}
