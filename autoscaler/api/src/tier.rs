//! A target as prefill or decode of a model whose requests are split between engines.

use autoscaler_plan::Tier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::EngineAutoscalerSpec;
use crate::validate::InvalidSpec;

/// Which half of each request a target's engines serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TierSpec {
    /// The prompt, up to the first token.
    Prefill,
    /// All tokens after it.
    Decode,
}

impl From<TierSpec> for Tier {
    fn from(tier: TierSpec) -> Self {
        match tier {
            TierSpec::Prefill => Self::Prefill,
            TierSpec::Decode => Self::Decode,
        }
    }
}

/// A place among the tiers of a model that can be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierMember {
    /// Name that clients send.
    pub served_model_name: String,
    /// Which tier.
    pub tier: Tier,
}

/// Reads `spec.tier`.
///
/// # Errors
/// The field that is wrong, and the fix.
pub fn tier_member(spec: &EngineAutoscalerSpec) -> Result<Option<TierMember>, InvalidSpec> {
    let Some(tier) = spec.tier.map(Tier::from) else { return Ok(None) };
    let Some(served_model_name) = spec.served_model_name.clone().filter(|name| !name.is_empty()) else {
        let problem = "it is empty, and the tiers of a model find each other by it".to_owned();
        let fix = "write the name that clients send, or leave tier out";
        return Err(InvalidSpec { field: "servedModelName".into(), problem, fix });
    };
    if spec.variant.is_some() {
        let problem =
            format!("a {} tier is one target, and variants are several that share their requests", tier.as_str());
        return Err(InvalidSpec { field: "variant".into(), problem, fix: "leave variant or tier out" });
    }
    Ok(Some(TierMember { served_model_name, tier }))
}
