//! A target as one of several that serve a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::EngineAutoscalerSpec;
use crate::validate::InvalidSpec;

/// A target as one of several, on unlike GPUs, that serve one `servedModelName`: they are planned together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariantSpec {
    /// Price of a replica against that of the other variants, in any one unit, such as dollars an hour.
    #[schemars(range(min = 0.000_001, max = 1_000_000.0))]
    pub price: f64,
}

/// A place among the variants of a model that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantMember {
    /// Name that clients send.
    pub served_model_name: String,
    /// Price of a replica.
    pub price: f64,
}

/// Reads `spec.variant`.
///
/// # Errors
/// The field that is wrong, and the fix.
pub fn variant_member(spec: &EngineAutoscalerSpec) -> Result<Option<VariantMember>, InvalidSpec> {
    let Some(VariantSpec { price }) = spec.variant else { return Ok(None) };
    if !(price.is_finite() && price > 0.0) {
        let fix = "write what a replica costs, such as 2.5";
        return Err(InvalidSpec { field: "variant.price".into(), problem: format!("{price} is no price"), fix });
    }
    let Some(served_model_name) = spec.served_model_name.clone().filter(|name| !name.is_empty()) else {
        let problem = "it is empty, and variants of a model find each other by it".to_owned();
        let fix = "write the name that clients send, or leave variant out";
        return Err(InvalidSpec { field: "servedModelName".into(), problem, fix });
    };
    Ok(Some(VariantMember { served_model_name, price }))
}
