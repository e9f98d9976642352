//! A target's place in a pool of GPUs.

use std::num::NonZeroU32;

use autoscaler_plan::PoolTerms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::EngineAutoscalerSpec;
use crate::validate::InvalidSpec;

/// A target's place among those that share GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Name of the pool, one of `pools` in the controller's configuration, which says how many GPUs there are.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// GPUs of each replica.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub gpus_per_replica: i32,
    /// When the GPUs do not suffice for all, targets of higher priority get what they want first, once every target has its
    /// `minReplicas`. Within one priority a GPU goes where it is expected to be busiest.
    #[serde(default)]
    pub priority: i32,
}

/// A place in a pool that can be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMember {
    /// Name of the pool.
    pub pool: String,
    /// The terms.
    pub terms: PoolTerms,
}

/// Reads `spec.pool`.
///
/// # Errors
/// The field that is wrong, and the fix.
pub fn pool_member(spec: &EngineAutoscalerSpec) -> Result<Option<PoolMember>, InvalidSpec> {
    let Some(pool) = &spec.pool else { return Ok(None) };
    let gpus = u32::try_from(pool.gpus_per_replica).ok().and_then(NonZeroU32::new);
    let Some(gpus_per_replica) = gpus else {
        let problem = format!("{} is no number of GPUs", pool.gpus_per_replica);
        return Err(InvalidSpec { field: "pool.gpusPerReplica".into(), problem, fix: "write 1 or more" });
    };
    if pool.name.is_empty() {
        let fix = "write one of the pools in the controller's configuration";
        return Err(InvalidSpec { field: "pool.name".into(), problem: "it is empty".to_owned(), fix });
    }
    Ok(Some(PoolMember { pool: pool.name.clone(), terms: PoolTerms { gpus_per_replica, priority: pool.priority } }))
}

fn one() -> i32 {
    1
}
