//! A model's claim, from its decision.

use super::{Claim, LayerUse, PoolTerms};
use crate::decision::Decision;
use crate::facts::{Facts, RouterFacts};
use crate::state::State;

/// A replica that is ordered serves in this share of the horizon: the horizon of the plan is three start-up times.
const SERVING_SHARE: f64 = 2.0 / 3.0;

impl Claim {
    /// What a model asks of its pool, once it has decided.
    #[must_use]
    pub fn of(name: &str, terms: PoolTerms, facts: &Facts, decision: &Decision, state: &State) -> Self {
        let settings = &facts.settings;
        // Nothing would wake it at zero without a router.
        let least = u32::from(facts.router == RouterFacts::NotConfigured);
        let engines = u32::try_from(facts.engines.len()).unwrap_or(u32::MAX);
        Self {
            name: name.to_owned(),
            terms,
            min_replicas: settings.min_replicas.max(least),
            wanted: decision.replicas,
            present: facts.replicas,
            ending: engines.saturating_sub(facts.replicas),
            takes_back: false,
            keeps: settings.paused || !decision.has_complete_metrics(),
            uses: uses(decision, state),
        }
    }

    /// What a target holds that cannot be changed now.
    #[must_use]
    pub fn fixed(name: &str, terms: PoolTerms, replicas: u32) -> Self {
        Self {
            name: name.to_owned(),
            terms,
            min_replicas: 0,
            wanted: replicas,
            present: replicas,
            ending: 0,
            takes_back: false,
            keeps: true,
            uses: Vec::new(),
        }
    }
}

/// Expected use of each replica that is wanted: what the plan foresees, and at least what is busy now.
fn uses(decision: &Decision, state: &State) -> Vec<LayerUse> {
    let foreseen = state.plan.layer_uses();
    let layer = |index: u32| {
        let busy = (decision.demand.floor_replicas - f64::from(index)).clamp(0.0, 1.0);
        let foreseen = foreseen.get(index as usize).copied().unwrap_or_default();
        LayerUse { kept: foreseen.kept.max(busy), ordered: foreseen.ordered.max(SERVING_SHARE * busy) }
    };
    (0..decision.replicas).map(layer).collect()
}
